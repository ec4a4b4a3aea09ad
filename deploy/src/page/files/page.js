// Two browsers of one church side by side, one of another church, and buttons for what people fear.

import { connect, RequestFailed } from "church-live"
import { html, render, useEffect, useReducer, useState } from "preact"

const secret = location.hash.slice(1)
const CHURCH = "grace"
const TARGETS = {
  "one member": { recipients: [{ phone: "+12025550101", firstName: "Ann" }] },
  "one who opted out": { recipients: [{ phone: "+12025550102", firstName: "Kofi" }] },
  "the ushers": { targetType: "groups", targetIds: ["ushers"] },
  "the choir": { targetType: "groups", targetIds: ["choir"] },
  "everybody": { targetType: "all" },
}
/** Latencies in the plot. */
const SHOWN_LATENCIES = 60

/** A request to the program that serves this page. */
async function ask(path, method = "GET", body) {
  const headers = { "X-Stack-Secret": secret, "Content-Type": "application/json" }
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) })
  if (!answer.ok) throw new Error(await answer.text())
  return answer.status === 204 ? undefined : answer.json()
}

// Each pane's websockets, so that a button can cut them.
const open = new Map()
const { WebSocket } = globalThis
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols)
    open.set(new URL(url).searchParams.get("pane"), this)
  }
}
const cut = (pane) => open.get(pane)?.close()

/** A browser of a church: its client, and what it has seen. */
class Pane {
  constructor(name, church, user, { api, gateway, hasButtons }) {
    Object.assign(this, { name, church, user, hasButtons: hasButtons && church === CHURCH })
    this.seen = new Set()
    this.latencies = []
    this.changed = new Set()
    this.endedToken = false
    const token = async () => {
      const seconds = this.endedToken ? -60 : 3600
      this.endedToken = false
      return (await ask("/session", "POST", { church, user, seconds })).token
    }
    this.live = connect({ gateway, api, token, socket: { query: { pane: name }, transports: ["websocket"] } })
    for (const event of ["message:sent", "message:status_update"]) this.live.on(event, (news) => this.note(news))
    this.live.on("state", () => this.tell())
    this.live.messages.subscribe(() => this.tell())
    this.live.start()
  }

  /** Counts an event, and measures from Telnyx's webhook to the painted row. */
  note({ eventId, occurredAt, replay }) {
    if (this.seen.has(eventId) || replay) return
    this.seen.add(eventId)
    if (!occurredAt) return this.tell()
    requestAnimationFrame(() => {
      const channel = new MessageChannel()
      channel.port1.onmessage = () => {
        this.latencies = [...this.latencies, Date.now() - Date.parse(occurredAt)].slice(-SHOWN_LATENCIES)
        this.tell()
      }
      channel.port2.postMessage(null)
    })
  }

  tell() {
    this.changed.forEach((changed) => changed())
  }
}

function usePane(pane) {
  const [, changed] = useReducer((count) => count + 1, 0)
  useEffect(() => {
    pane.changed.add(changed)
    return () => pane.changed.delete(changed)
  }, [pane])
}

function PaneView({ pane, say }) {
  usePane(pane)
  const { live, name, church, user } = pane
  const act = (text, action) => () => (action(), say(`${name}: ${text}`))
  const expire = () => {
    pane.endedToken = true
    cut(name)
  }
  return html`<section class="pane" aria-label=${name}>
    <header>
      <h2>${name}</h2>
      <span class="quiet">${church}, ${user}</span>
      <span class="state ${live.state.name}" title=${live.state.reason ?? ""}>${live.state.name}</span>
    </header>
    ${pane.hasButtons && html`<div class="buttons">
      <button onClick=${act("its connection was cut; it resumes from its cursor", () => cut(name))}>Cut the connection</button>
      <button onClick=${act("its token has ended; it comes back with a new one", expire)}>Expire the token</button>
    </div>`}
    ${live.messages.rows.length === 0 && html`<p class="quiet">Nothing yet.</p>`}
    <ol>${live.messages.rows.slice(0, 20).map((message) => html`<${Message} key=${message.id} message=${message} live=${live} />`)}</ol>
  </section>`
}

function Message({ message, live }) {
  const { id, content, status, totalRecipients: all, deliveredCount, failedCount, failureReason, sending } = message
  const [recipients, setRecipients] = useState()
  const [isOpen, setOpen] = useState(false)
  useEffect(() => {
    if (isOpen && !sending) live.recipients(id).then(({ recipients }) => setRecipients(recipients), () => setRecipients([]))
  }, [isOpen, message.version])
  return html`<li>
    <details onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary><span class="text">${content}</span></summary>
      ${recipients?.map(({ id, member, status, failureReason }) => html`<p class="row" key=${id}>
        <span>${[member.firstName, member.lastName].filter(Boolean).join(" ") || member.phone}</span>
        <span class=${status === "failed" ? "bad" : "quiet"}>${failureReason ?? status}</span>
      </p>`)}
    </details>
    <div class="row quiet numbers"><span>${sending ? "sending" : status}</span><span>${deliveredCount} of ${all}</span></div>
    <${Bar} all=${all} good=${deliveredCount} failed=${failedCount} />
    ${failureReason && html`<p class="bad">${failureReason}</p>`}
  </li>`
}

function Bar({ all, good, failed }) {
  const per = (count) => `${all ? (100 * count) / all : 0}%`
  return html`<svg class="bar" role="img" aria-label="${good} delivered, ${failed} failed, of ${all}">
    <rect class="wait" width="100%" height="6" />
    <rect class="good" width=${per(good)} height="6" />
    <rect class="failed" x=${per(good)} width=${per(failed)} height="6" />
  </svg>`
}

/** Milliseconds from Telnyx's webhook to the pixel, the newest to the right. */
function Plot({ pane }) {
  usePane(pane)
  const { latencies } = pane
  const most = Math.max(100, ...latencies)
  const y = (value) => 50 - (44 * value) / most
  const median = [...latencies].sort((a, b) => a - b)[Math.floor(latencies.length / 2)]
  const told = latencies.length ? `newest ${latencies.at(-1)} ms, median ${median} ms` : "none yet"
  return html`<p class="numbers">From Telnyx's webhook to the pixel: ${told}</p>
    <svg class="plot" role="img" aria-label="Latencies: ${told}">
      <line x1="0" x2="100%" y1=${y(100)} y2=${y(100)} /><text x="4" y=${y(100) + 12}>100 ms</text>
      ${latencies.map((value, index) => html`<circle key=${index} cx="${((index + 0.5) * 100) / SHOWN_LATENCIES}%" cy=${y(value)} r="3"><title>${value} ms</title></circle>`)}
    </svg>`
}

/** Compares what the stream has with what each pane has seen. */
function Proof({ panes, start }) {
  const [found, setFound] = useState({ ids: [], readTo: start })
  panes.forEach(usePane)
  useEffect(() => {
    let ended = false
    let state = found
    const read = async () => {
      try {
        const { ids, readTo } = await ask(`/events?church=${CHURCH}&after=${state.readTo}`)
        state = { ids: [...state.ids, ...ids], readTo, checked: [...state.ids, ...ids] }
        if (!ended) setFound(state)
      } catch {
        // The broker is away: what was read stays, and is compared again later.
      }
      if (!ended) setTimeout(read, 1000)
    }
    read()
    return () => (ended = true)
  }, [])
  const lines = panes.map(({ name, seen }) => {
    const missing = found.ids.filter((id) => !seen.has(id)).length
    return `${name} ${missing === 0 ? "has them all" : `still lacks ${missing}`}`
  })
  return html`<p id="proof" class="numbers"><strong>Events in the stream: ${found.ids.length}.</strong> ${lines.join(", ")}. <span class="quiet">A status that was overtaken by a newer one is not sent, and not missed.</span></p>`
}

function App({ panes, start }) {
  const [first] = panes
  const [said, say] = useState(first.hasButtons ? "Send a text, then press what you fear." : "Send a text.")
  const [mood, setMood] = useState("calm")
  const send = async (event) => {
    event.preventDefault()
    const { content, target } = Object.fromEntries(new FormData(event.currentTarget))
    try {
      await first.live.send({ content, ...TARGETS[target] })
      say("Sent: the message fills as receipts come.")
    } catch (error) {
      if (!(error instanceof RequestFailed)) throw error
      say(error.details[0]?.message ?? error.message)
    }
  }
  const fault = (name, text) => () => ask(`/faults/${name}`, "POST").then(() => say(text), (error) => say(error.message))
  const telnyx = (wanted, text) => async () => {
    const next = mood === wanted ? "calm" : wanted
    await ask(`/telnyx/${next}`, "POST").then(() => (setMood(next), say(next === "calm" ? "Telnyx behaves as usual." : text)), (error) => say(error.message))
  }
  const toggle = (name, text, label) => html`<button aria-pressed=${mood === name} onClick=${telnyx(name, text)}>${label}</button>`
  return html`<main>
    <header><h1>Live church messages</h1><a href="/api#${secret}">The API</a></header>
    <form onSubmit=${send}>
      <input name="content" value="Service is at ten" aria-label="Text" required />
      <select name="target" aria-label="Recipients">${Object.keys(TARGETS).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select>
      <button class="main">Send</button>
    </form>
    ${first.hasButtons && html`<div class="buttons">
      <button onClick=${fault("kill-gateway", "The gateway was killed. It is started again; the browsers resume.")}>Kill the gateway</button>
      <button onClick=${fault("stop-broker", "The broker was stopped for five seconds. The database keeps the events; they come late, and all of them.")}>Stop the broker</button>
      ${toggle("repeat-and-reorder", "Each webhook comes three times, in reverse order. No status goes back.", "Repeat and reorder webhooks")}
      ${toggle("carrier-fails", "The carrier delivers no text now.", "Let the carrier fail")}
    </div>`}
    <section class="proof" aria-label="Proof">
      <p id="said" role="status">${said}</p>
      <${Proof} panes=${panes.slice(0, 2)} start=${start} />
      <${Plot} pane=${first} />
    </section>
    <div class="panes">${panes.map((pane) => html`<${PaneView} key=${pane.name} pane=${pane} say=${say} />`)}</div>
  </main>`
}

async function main() {
  try {
    const addresses = await ask("/addresses")
    // What is in the stream before the panes connect is history.
    const { readTo } = await ask(`/events?church=${CHURCH}`)
    const panes = [
      new Pane("Browser 1", CHURCH, "ann", addresses),
      new Pane("Browser 2", CHURCH, "ben", addresses),
      new Pane("Another church", "hope", "eve", addresses),
    ]
    render(html`<${App} panes=${panes} start=${readTo} />`, document.body)
  } catch (error) {
    render(html`<main><h1>Live church messages</h1><p class="bad">${error.message}</p></main>`, document.body)
  }
}

await main()
