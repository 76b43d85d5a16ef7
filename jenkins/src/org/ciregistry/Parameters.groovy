package org.ciregistry

import com.cloudbees.groovy.cps.NonCPS

/** Named parameters of the steps: are they known, and what they are on the command line. */
class Parameters implements Serializable {
    private static final long serialVersionUID = 1L

    /** What every step takes. */
    static final List COMMON = ['credentials', 'config', 'tool', 'failOnError']

    /** Why these parameters can't be used, or null. */
    @NonCPS
    static String problem(String step, Map given, List own, List required) {
        List known = own + COMMON
        for (Object key : given.keySet()) {
            String name = key.toString()
            if (!known.contains(name)) {
                String near = nearest(name, known)
                return step + ": unknown parameter '" + name + "'" +
                    (near ? "; did you mean '" + near + "'?" : '; it takes ' + known.join(', '))
            }
        }
        for (Object name : required) {
            if (isMissing(given.get(name))) {
                return step + ": parameter '" + name + "' is missing"
            }
        }
        return null
    }

    @NonCPS
    private static boolean isMissing(Object value) {
        return value == null || value == '' || ((value instanceof Collection) && value.isEmpty())
    }

    /** `--name=value`, once for each value; nothing for null. One argument each, so that no value is taken for an option. */
    @NonCPS
    static List option(String name, Object value) {
        List arguments = []
        for (Object each : texts(value)) {
            arguments.add('--' + name + '=' + each)
        }
        return arguments
    }

    /** `--name` where the value is true. */
    @NonCPS
    static List flag(String name, Object value) {
        return value ? ['--' + name] : []
    }

    /** A value or a list of values as plain strings. */
    @NonCPS
    static List texts(Object value) {
        List found = []
        if (value instanceof Collection) {
            for (Object each : value) {
                found.add(each.toString())
            }
        } else if (value != null && value != '') {
            found.add(value.toString())
        }
        return found
    }

    /** The known name that is most like this one, or null where none is. */
    @NonCPS
    static String nearest(String name, List known) {
        String best = null
        int least = name.length() < 5 ? 2 : 3
        for (Object each : known) {
            int edits = distance(name, each.toString())
            if (edits < least) {
                least = edits
                best = each.toString()
            }
        }
        return best
    }

    /** Edits from one word to the other; two letters swapped count as one (Damerau and Levenshtein). */
    @NonCPS
    private static int distance(String one, String other) {
        List earlier = []
        List previous = []
        for (int column = 0; column <= other.length(); column++) {
            previous.add(column)
        }
        for (int row = 1; row <= one.length(); row++) {
            List current = [row]
            for (int column = 1; column <= other.length(); column++) {
                boolean same = one.substring(row - 1, row) == other.substring(column - 1, column)
                int best = Math.min((int) previous[column - 1] + (same ? 0 : 1), (int) previous[column] + 1)
                best = Math.min(best, (int) current[column - 1] + 1)
                if (row > 1 && column > 1 && swapped(one, other, row, column)) {
                    best = Math.min(best, (int) earlier[column - 2] + 1)
                }
                current.add(best)
            }
            earlier = previous
            previous = current
        }
        return (int) previous[other.length()]
    }

    @NonCPS
    private static boolean swapped(String one, String other, int row, int column) {
        return one.substring(row - 1, row) == other.substring(column - 2, column - 1) &&
            one.substring(row - 2, row - 1) == other.substring(column - 1, column)
    }
}
