// Asks the console's server, once or again and again.

import { useCallback, useEffect, useState } from "/htm-preact.js"

/** An answer that is none: its status, and what the server says. */
export class Refused extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

let numbersShown = false
const listeners = new Set()

/** Shows or hides telephone numbers in all answers from now on. */
export function showNumbers(shown) {
  numbersShown = shown
  listeners.forEach((changed) => changed(shown))
}

/** Whether numbers are shown. */
export function useNumbers() {
  const [shown, changed] = useState(numbersShown)
  useEffect(() => {
    listeners.add(changed)
    return () => listeners.delete(changed)
  }, [])
  return shown
}

/** A request: a POST if it has a body. */
export async function ask(path, body) {
  const headers = numbersShown ? { "X-Show-Numbers": "1" } : {}
  if (body !== undefined) headers["Content-Type"] = "application/json"
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) }
  const answer = await fetch(path, options).catch(() => {
    throw new Refused(0, "The console does not answer. Is it still running?")
  })
  const text = await answer.text()
  if (!answer.ok) throw new Refused(answer.status, reason(text))
  return text ? JSON.parse(text) : undefined
}

function reason(text) {
  try {
    return JSON.parse(text).error
  } catch {
    return text || "The console gave no reason."
  }
}

/** A report, asked for again after some seconds if they are given. What was known stays while it can't be read. */
export function useReport(path, seconds) {
  const [known, setKnown] = useState({ path })
  const [turn, setTurn] = useState(0)
  const numbers = useNumbers()
  useEffect(() => {
    if (!path) return
    let timer
    let left = false
    const read = async () => {
      try {
        const answer = await ask(path)
        if (!left) setKnown({ path, numbers, ...answer })
      } catch (error) {
        if (!left) setKnown((before) => ({ ...(before.path === path ? before : { path }), error }))
      }
      if (!left && seconds) timer = setTimeout(read, seconds * 1000)
    }
    read()
    return () => {
      left = true
      clearTimeout(timer)
    }
  }, [path, seconds, turn, numbers])
  const again = useCallback(() => setTurn((number) => number + 1), [])
  const current = known.path === path ? known : { path }
  return { ...current, isLoading: Boolean(path) && current.report === undefined && !current.error, again }
}
