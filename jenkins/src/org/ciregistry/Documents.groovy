package org.ciregistry

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** What goes to ci-registry and what comes back, as JSON. */
class Documents implements Serializable {
    private static final long serialVersionUID = 1L

    /** A command line for `ci-registry --arguments-from`. */
    @NonCPS
    static String commandLine(List arguments) {
        List texts = []
        for (Object each : arguments) {
            texts.add(each.toString())
        }
        // no dollar sign leaves here as itself: somewhere on its way an environment may be expanded
        return JsonOutput.toJson([arguments: texts]).replace('$', '\\u0024')
    }

    /** The outcome of a run as a plain map: ok, exit, code, message, result. */
    @NonCPS
    static Map outcome(String text) {
        Object document = text?.trim() ? plain(new JsonSlurper().parseText(text)) : null
        if (!(document instanceof Map)) {
            return [ok: false, exit: 1, code: 'no-result', message: 'ci-registry gave no result; the log says why',
                    result: null]
        }
        Map error = (Map) document.get('error')
        Map found = [ok: error == null, exit: 0, code: '', message: '', result: document.get('result')]
        if (error != null) {
            found.put('exit', error.get('exit'))
            found.put('code', error.get('code'))
            found.put('message', sentence(error))
        }
        return found
    }

    /** The sentence that the tool ends its log with. */
    @NonCPS
    private static String sentence(Map error) {
        String text = error.get('message').toString().trim()
        String side = error.get('side')
        if (side && !text.startsWith(side)) {
            text = side + ': ' + text
        }
        if (error.get('hint')) {
            text = (text.endsWith('.') ? text.substring(0, text.length() - 1) : text) + '; ' + error.get('hint')
        }
        return (text.endsWith('.') || text.endsWith('!') || text.endsWith('?')) ? text : text + '.'
    }

    /** The same without the parser's own classes, which Jenkins can't keep over a restart. */
    @NonCPS
    private static Object plain(Object value) {
        if (value instanceof Map) {
            Map copy = [:]
            for (Object key : value.keySet()) {
                copy.put(key.toString(), plain(value.get(key)))
            }
            return copy
        }
        if (value instanceof Collection) {
            List copy = []
            for (Object each : value) {
                copy.add(plain(each))
            }
            return copy
        }
        return value
    }
}
