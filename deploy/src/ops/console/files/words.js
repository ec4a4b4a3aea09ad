// How times, numbers and ids are written.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" })
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" })
const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })
const SMALL = new Intl.NumberFormat("en", { maximumFractionDigits: 1 })

/** What is counted up to this is told as "10,000+". */
const COUNTED = 10_000

/** A moment: the clock, with the day if it is not today. */
export function clock(at) {
  const moment = new Date(at)
  const isToday = moment.toDateString() === new Date().toDateString()
  return isToday ? CLOCK.format(moment) : `${DAY.format(moment)}, ${CLOCK.format(moment)}`
}

/** How long: "3 s", "12 min", "5 h", "2 d". */
export function span(seconds) {
  if (seconds < 0.0005) return "0"
  if (seconds < 1) return `${SMALL.format(seconds * 1000)} ms`
  if (seconds < 90) return `${SMALL.format(seconds)} s`
  if (seconds < 90 * 60) return `${COUNT.format(seconds / 60)} min`
  if (seconds < 36 * 3600) return `${COUNT.format(seconds / 3600)} h`
  return `${COUNT.format(seconds / 86_400)} d`
}

/** How long ago a moment was. */
export const ago = (at) => span(Math.round(Math.max(1, (Date.now() - Date.parse(at)) / 1000)))

/** Seconds from one moment to another. */
export const between = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000

/** A number of things a second. */
export const rate = (value) => (value > 0 && value < 10 ? SMALL.format(value) : COUNT.format(value))

/** A number that is counted up to a limit. */
export const count = (value) => (value >= COUNTED ? `${COUNT.format(COUNTED)}+` : COUNT.format(value))

/** "1 event", "2 events". */
export const counted = (number, thing) => `${COUNT.format(number)} ${thing}${number === 1 ? "" : "s"}`

/** The end of an id, which tells ids of the same time apart. */
export const short = (id) => (id.length > 12 ? `…${id.slice(-12)}` : id)

/** A word of the record, for people. */
export const words = (name) => WORDS[name] ?? name.replaceAll("_", " ")

const WORDS = {
  unsent: "not sent",
  unanswered: "no answer from Telnyx",
  unreported: "no receipt",
  due: "waiting",
  ask: "to be asked",
}
