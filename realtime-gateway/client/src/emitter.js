/**
 * Calls handlers by the name of an event. One that throws does not keep the others from their event: its error is thrown
 * again outside, where the page's own error reporting sees it.
 *
 * @template {Record<string, any>} Events
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(event: any) => void>>} */
  #handlers = new Map()

  /**
   * Calls the handler for each event of this name, until the returned function is called.
   *
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {(event: Events[Name]) => void} handler
   * @returns {() => void}
   */
  on(name, handler) {
    const handlers = this.#handlers.get(name) ?? new Set()
    // The same function may be registered twice.
    const own = (/** @type {any} */ event) => handler(event)
    this.#handlers.set(name, handlers.add(own))
    return () => void handlers.delete(own)
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {Events[Name]} event
   */
  emit(name, event) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      try {
        handler(event)
      } catch (error) {
        setTimeout(() => {
          throw error
        })
      }
    }
  }
}
