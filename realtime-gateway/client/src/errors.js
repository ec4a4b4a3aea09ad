/** Throw it from `token()` if the user has signed out. The client then ends trying. */
export class SignedOut extends Error {
  constructor(message = "signed out") {
    super(message)
    this.name = "SignedOut"
  }
}

/** A request to message-api failed: it was refused, or got no answer. The message is for a person. */
export class RequestFailed extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, code?: string, details?: { field: string, message: string }[], retryAfter?: number | undefined }} more
   */
  constructor(message, { status = 0, code = "no_answer", details = [], retryAfter } = {}) {
    super(message)
    this.name = "RequestFailed"
    /** The HTTP status; 0 without an answer. */
    this.status = status
    /** For a program: a code of the API's document, or `no_answer`. */
    this.code = code
    /** What is wrong with each field. */
    this.details = details
    /** Seconds to wait before the same request may be repeated; undefined if it must not be. */
    this.retryAfter = retryAfter
  }
}
