package org.ciregistry

import com.cloudbees.groovy.cps.NonCPS

/** What plans and receipts look like to a person. */
class Plans implements Serializable {
    private static final long serialVersionUID = 1L

    private static final int MOST_LINES = 20

    /** How many references would change. */
    @NonCPS
    static int changes(Map report) {
        int count = 0
        for (Object edge : edges(report, 'plan')) {
            for (Object arrival : edge.arrivals) {
                count += (arrival.before == arrival.after) ? 0 : 1
            }
        }
        return count
    }

    /** One line for each reference that would change, the first twenty of them. */
    @NonCPS
    static List lines(Map report) {
        List found = []
        int more = 0
        for (Object edge : edges(report, 'plan')) {
            for (Object arrival : edge.arrivals) {
                if (arrival.before == arrival.after) {
                    continue
                }
                if (found.size() < MOST_LINES) {
                    found.add(line(edge.source, arrival))
                } else {
                    more++
                }
            }
        }
        return more ? found + ['and ' + more + ' more'] : found
    }

    @NonCPS
    private static String line(Map source, Map arrival) {
        String from = source.target + ':' + source.repository + (source.tag ? ':' + source.tag : '')
        String to = arrival.target + ':' + arrival.repository + (arrival.tag ? ':' + arrival.tag : '')
        String before = arrival.before ? ', was ' + brief(arrival.before.toString()) : ''
        return from + ' -> ' + to + ' (' + brief(arrival.after.toString()) + before + ')'
    }

    @NonCPS
    private static String brief(String digest) {
        return digest.length() > 19 ? digest.substring(0, 19) : digest
    }

    /** How many references had which outcome, as {promoted=2, unchanged=1}. */
    @NonCPS
    static Map totals(Map report) {
        Map found = [:]
        for (Object edge : edges(report, 'receipt')) {
            for (Object arrival : edge.arrivals) {
                String outcome = arrival.outcome
                found.put(outcome, (found.get(outcome) ?: 0) + 1)
            }
        }
        return found
    }

    /** The totals in words. */
    @NonCPS
    static String words(Map totals) {
        List found = []
        for (Object outcome : totals.keySet()) {
            found.add('' + totals.get(outcome) + ' ' + outcome)
        }
        return found ? found.join(', ') : 'nothing to do'
    }

    @NonCPS
    private static List edges(Map report, String part) {
        return (report != null && report.get(part) != null) ? (List) report.get(part).get('edges') : []
    }
}
