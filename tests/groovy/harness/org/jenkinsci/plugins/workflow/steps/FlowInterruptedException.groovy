package org.jenkinsci.plugins.workflow.steps

/** Stands in for what an abort, a timeout or a refused input throws. */
class FlowInterruptedException extends InterruptedException {
    FlowInterruptedException(String message) {
        super(message)
    }
}
