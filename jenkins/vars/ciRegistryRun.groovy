import org.ciregistry.Credentials
import org.ciregistry.Documents
import org.ciregistry.Parameters

/** Runs any ci-registry command; see ciRegistryRun.txt. The other steps go through here too. */
Map call(Map given = [:]) {
    checkParameters('ciRegistryRun', given, ['arguments'], ['arguments'])
    return runTool('ciRegistryRun', Parameters.texts(given.arguments), given)
}

/** Refuse parameters that a step does not have, and credentials that can't be bound. */
void checkParameters(String step, Map given, List own, List required) {
    String problem = Parameters.problem(step, given, own, required) ?: Credentials.problem(step, given.credentials)
    if (problem) {
        error(problem)
    }
}

/** Run one command line; `given` holds the parameters that all steps share. */
Map runTool(String step, List arguments, Map given) {
    List environment = environmentOf(step, given)
    environment.add('CI_REGISTRY_ARGUMENTS=' + Documents.commandLine(arguments))
    environment.add('CI_REGISTRY_LIBRARY_VERSION=' + libraryResource('org/ciregistry/version.txt').trim())
    String script = libraryResource('org/ciregistry/run.sh')
    String label = 'ci-registry ' + arguments[0]
    String output = ''
    withLogins(given.credentials) {
        withEnv(environment) {
            output = sh(script: script, label: label, returnStdout: true, encoding: 'UTF-8')
        }
    }
    Map outcome = Documents.outcome(output)
    if (!outcome.ok && given.failOnError != false) {
        error(outcome.code + ' (exit ' + outcome.exit + '): ' + outcome.message)
    }
    return outcome
}

/** Run `body` with the credentials of these targets in its environment. */
def withLogins(Map credentials, Closure body) {
    if (!credentials) {
        return body()
    }
    return withEnv(Credentials.names(credentials)) {
        withCredentials(Credentials.bindings(credentials)) {
            body()
        }
    }
}

/** What the parameters `config` and `tool` are in the environment. */
List environmentOf(String step, Map given) {
    List environment = []
    if (given.config) {
        environment.add('CI_REGISTRY_CONFIG=' + given.config)
    }
    Map tool = given.tool ?: [:]
    List names = ['version', 'index', 'wheel', 'python', 'cache']
    for (Object key : new ArrayList(tool.keySet())) {
        if (!names.contains(key.toString())) {
            error(step + ": unknown key '" + key + "' of 'tool'; it has " + names.join(', '))
        }
        environment.add('CI_REGISTRY_TOOL_' + key.toString().toUpperCase() + '=' + tool.get(key))
    }
    return environment
}
