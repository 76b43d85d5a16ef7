package org.ciregistry

import com.cloudbees.groovy.cps.NonCPS

/**
 * Jenkins credentials by target, `[dev: 'id', prod: [string: 'id', username: 'robot'], ecr: [aws: 'id']]`, as bindings
 * of the credentials-binding plug-in. The variables are those that ci-registry reads for that target.
 */
class Credentials implements Serializable {
    private static final long serialVersionUID = 1L

    private static final List KINDS = ['usernamePassword', 'string', 'file', 'aws', 'ecr']

    /** Why these credentials can't be bound, or null. */
    @NonCPS
    static String problem(String step, Object credentials) {
        if (credentials == null) {
            return null
        }
        if (!(credentials instanceof Map)) {
            return step + ": 'credentials' is a map of ids by target, such as [dev: 'registry-login']"
        }
        List seen = []
        for (Object target : credentials.keySet()) {
            String problem = problemOf(step, target.toString(), credentials.get(target), seen)
            if (problem != null) {
                return problem
            }
        }
        return null
    }

    @NonCPS
    private static String problemOf(String step, String target, Object value, List seen) {
        String where = step + ': credentials of ' + target
        if (!target.matches('[a-z][a-z0-9-]*')) {
            return where + ': that is not the name of a target'
        }
        Map binding = normal(value)
        String kind = null
        for (Object key : binding.keySet()) {
            if (KINDS.contains(key.toString())) {
                if (kind != null) {
                    return where + ': give one of ' + KINDS.join(', ')
                }
                kind = key.toString()
            } else if (!['username', 'roleArn'].contains(key.toString())) {
                return where + ": unknown key '" + key + "'; it is one of " + KINDS.join(', ')
            }
        }
        if (kind == null || !binding.get(kind)) {
            return where + ': the id is missing'
        }
        if (kind == 'file' && !binding.get('username')) {
            return where + ': a file holds only the password; give username: too'
        }
        if (kind == 'aws') {
            String id = binding.get(kind).toString()
            if (!seen.isEmpty() && !seen.contains(id)) {
                return where + ': one run has one AWS identity; give the other target an ECR token, [ecr: ' +
                    "'ecr:REGION:ID'], or a role in ci-registry.yaml"
            }
            seen.add(id)
        }
        return null
    }

    /** What goes into withCredentials. */
    @NonCPS
    static List bindings(Map credentials) {
        List found = []
        List aws = []
        for (Object target : credentials.keySet()) {
            Map binding = normal(credentials.get(target))
            String name = variable(target.toString())
            if (binding.containsKey('aws')) {
                if (!aws.contains(binding.get('aws'))) {
                    aws.add(binding.get('aws'))
                    found.add(awsBinding(binding))
                }
            } else if (binding.containsKey('string')) {
                found.add(['$class': 'StringBinding', credentialsId: binding.get('string').toString(),
                           variable: name + 'TOKEN'])
            } else if (binding.containsKey('file')) {
                found.add(['$class': 'FileBinding', credentialsId: binding.get('file').toString(),
                           variable: name + 'PASSWORD_FILE'])
            } else {
                // the ECR plug-in's "password" is an encoded token; ci-registry takes it as it is
                Object id = binding.containsKey('ecr') ? binding.get('ecr') : binding.get('usernamePassword')
                found.add(['$class': 'UsernamePasswordMultiBinding', credentialsId: id.toString(),
                           usernameVariable: name + 'USERNAME', passwordVariable: name + 'PASSWORD'])
            }
        }
        return found
    }

    @NonCPS
    private static Map awsBinding(Map binding) {
        Map found = ['$class': 'AmazonWebServicesCredentialsBinding', credentialsId: binding.get('aws').toString(),
                     accessKeyVariable: 'AWS_ACCESS_KEY_ID', secretKeyVariable: 'AWS_SECRET_ACCESS_KEY']
        if (binding.get('roleArn')) {
            found.put('roleArn', binding.get('roleArn').toString())
        }
        return found
    }

    /** User names that stand in the pipeline itself, as NAME=VALUE for withEnv. */
    @NonCPS
    static List names(Map credentials) {
        List found = []
        for (Object target : credentials.keySet()) {
            Map binding = normal(credentials.get(target))
            if (binding.get('username')) {
                found.add(variable(target.toString()) + 'USERNAME=' + binding.get('username'))
            }
        }
        return found
    }

    @NonCPS
    private static Map normal(Object value) {
        return (value instanceof Map) ? value : [usernamePassword: value == null ? '' : value.toString()]
    }

    @NonCPS
    private static String variable(String target) {
        return 'CI_REGISTRY_' + target.toUpperCase().replace('-', '_') + '_'
    }
}
