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

/**
 * A list in pages, the newest row first. Its first page is read again after some seconds, an older one when it is asked
 * for. `idOf` tells rows apart, and `before` is the query for the rows that are older than one.
 */
export function usePages(path, { size, idOf, before }, seconds) {
  const first = useReport(path, seconds)
  const [known, setKnown] = useState({})
  const [error, setError] = useState()
  useEffect(() => {
    if (first.report) setKnown((earlier) => joined(first.report, earlier, size, idOf))
  }, [first.report])
  const older = () => {
    const last = known.rows.at(-1)
    const add = (rows) => setKnown((now) => (now.rows.at(-1) === last ? { rows: [...now.rows, ...rows], hasOlder: rows.length === size } : now))
    return ask(`${path}${path.includes("?") ? "&" : "?"}${before(last)}`).then(({ report }) => (setError(undefined), add(report)), setError)
  }
  const again = () => {
    setKnown((now) => ({ ...now, isOutdated: true }))
    first.again()
  }
  return { ...first, ...known, isLoading: !known.rows && !first.error, error: first.error ?? error, older, again }
}

/** The first page, and after it the older rows that are known. They are left out if rows between may be missing. */
function joined(page, { rows = [], hasOlder, isOutdated }, size, idOf) {
  const last = page.length > 0 && !isOutdated ? rows.findIndex((row) => idOf(row) === idOf(page.at(-1))) : -1
  const rest = last < 0 ? [] : rows.slice(last + 1)
  return { rows: [...page, ...rest], hasOlder: rest.length > 0 ? hasOlder : page.length === size }
}
