package hudson

/** Stands in for what the step `error` throws. */
class AbortException extends IOException {
    AbortException(String message) {
        super(message)
    }
}
