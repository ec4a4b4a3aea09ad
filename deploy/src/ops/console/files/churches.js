// The view "Churches": all of them, and one with its sender, who is connected, its newest events, replays and revocations.

import { html, useEffect, useState } from "/htm-preact.js"
import { useReport } from "/asking.js"
import { Command, Nothing, Problem, State, Time } from "/parts.js"
import { counted, short } from "/words.js"

/** Events that are shown. */
const SHOWN = 100
const KINDS = [["userId", "userId"], ["adminId", "adminId"], ["sub", "sub"]]

export function Churches({ rest, change }) {
  const [church] = rest
  const [wanted, setWanted] = useState("")
  const [after, setAfter] = useState("")
  const { report, command, error, isLoading } = useReport(`/api/churches${after ? `?after=${encodeURIComponent(after)}` : ""}`, 10)
  const rows = report?.filter(({ churchId }) => churchId.toLowerCase().includes(wanted.toLowerCase()))
  const open = (event) => {
    event.preventDefault()
    if (wanted) location.hash = `#/churches/${encodeURIComponent(rows?.length === 1 ? rows[0].churchId : wanted)}`
  }
  return html`<div class=${church ? "panes open narrow" : "panes narrow"}>
    <section class="pane list" aria-label="Churches">
      <form role="search" onSubmit=${open}><input type="search" value=${wanted} onInput=${(event) => setWanted(event.currentTarget.value)} placeholder="Church" aria-label="Church" autocomplete="off" spellcheck="false" /><button>Open</button></form>
      <${Problem} error=${error} />
      <${Nothing} of=${rows} isLoading=${isLoading}>No church of this page has that in its id. Open it by its whole id.</${Nothing}>
      <ul class="rows">${rows?.map((one) => html`<li key=${one.churchId}><a data-row href="#/churches/${one.churchId}" aria-current=${one.churchId === church ? "true" : undefined}>
        <strong>${one.churchId}</strong><span>${one.pausedBy && html`<${State} name="pending">paused</${State}>`} ${one.heldBy && html`<${State} name="failed">held back</${State}>`}</span>
        <span class="quiet">${one.lastMessageAt ? html`last message <${Time} at=${one.lastMessageAt} />` : "no message"}</span>
      </a></li>`)}</ul>
      <div class="buttons">
        ${after && html`<button type="button" onClick=${() => setAfter("")}>First</button>`}
        ${report?.length === 200 && html`<button type="button" onClick=${() => setAfter(report.at(-1).churchId)}>More</button>`}
      </div>
      <${Command} text=${command} />
    </section>
    <section class="pane detail" aria-label="Church">
      ${church ? html`<${Church} key=${church} id=${church} change=${change} />` : html`<p class="nothing">Choose a church.</p>`}
    </section>
  </div>`
}

function Church({ id, change }) {
  const { report: known, error, again } = useReport(`/api/churches/${id}/facts`, 10)
  const paused = known?.pausedBy
  const pause = () => change({ change: { change: "pause", church: id }, question: `Pause sending for ${id}?`, verb: "Pause", done: again })
  const resume = () => change({ change: { change: "resume", church: id }, question: `Resume sending for ${id}?`, verb: "Resume", done: again })
  return html`
    <a class="back" href="#/churches">Back</a>
    <header class="row"><h2>${id}</h2><a href="#/messages/church/${id}">Its messages</a></header>
    <${Problem} error=${error} />
    ${known && html`<dl class="facts">
      <div><dt>Sends as</dt><dd>${known.number ?? "the number of all churches"}</dd></div>
      <div><dt>Rate</dt><dd>${known.rate ? `${known.rate} a second` : "no rate of its own"}</dd></div>
      <div><dt>Sending</dt><dd>${paused ? html`<${State} name="pending">paused</${State}> by ${paused.replace("operator:", "")}` : "not paused"}${known.heldBy && html`, <span class="bad">held back by ${known.heldBy}</span>`}</dd></div>
    </dl>`}
    <div class="buttons">${paused ? html`<button type="button" onClick=${resume}>Resume sending…</button>` : html`<button type="button" onClick=${pause}>Pause sending…</button>`}</div>
    <div class="halves">
      <${Connected} id=${id} />
      <${Replay} id=${id} change=${change} />
    </div>
    <${Events} id=${id} />
    <${Revocations} id=${id} change=${change} />`
}

function Connected({ id }) {
  const { report, command, error, isLoading } = useReport(`/api/churches/${id}/connected`, 5)
  return html`<section class="card"><h3>Connected now</h3>
    <${Problem} error=${error} />
    <${Nothing} of=${report?.users} isLoading=${isLoading}>Nobody of this church has a live page open.</${Nothing}>
    ${report?.users.length > 0 && html`<table><thead><tr><th>User</th><th>Sockets</th><th class="extra">Gateway</th></tr></thead>
      <tbody>${report.users.map((one) => html`<tr key=${one.user + one.gateway}><td>${one.user}</td><td class="numbers">${one.sockets}</td><td class="extra quiet">${one.gateway}</td></tr>`)}</tbody></table>`}
    ${report?.unanswered.map((gateway) => html`<p class="bad" key=${gateway}>No answer of ${gateway}</p>`)}
    <${Command} text=${command} />
  </section>`
}

function Replay({ id, change }) {
  const replay = (event) => {
    event.preventDefault()
    const { since, rate } = Object.fromEntries(new FormData(event.currentTarget))
    change({ change: { change: "replay", church: id, since: since.trim(), message: null, rate: Number(rate) }, question: `Send ${id} its events since ${since.trim()} again?`, verb: "Replay" })
  }
  return html`<section class="card"><h3>Send events again</h3>
    <p class="quiet">Browsers that know an event ignore it.</p>
    <form onSubmit=${replay}>
      <label>Since <input name="since" value="1h" required pattern="\\d+[smhd]|\\d{4}-\\d\\d-\\d\\dT.+Z" title="15m, 6h, 3d, or 2026-11-22T20:15:00Z" size="12" /></label>
      <label>At most <input name="rate" type="number" min="1" max="200" value="100" required /> a second</label>
      <button>Preview…</button>
    </form>
  </section>`
}

/** The newest events, and those that come while somebody looks. */
function Events({ id }) {
  const { report, command, error, isLoading, again } = useReport(`/api/churches/${id}/events`)
  const [isLive, setLive] = useState(false)
  const [live, setNews] = useState([])
  const [trouble, setTrouble] = useState()
  useEffect(() => {
    if (!isLive) return
    const source = new EventSource(`/api/churches/${id}/tail`)
    source.onopen = () => {
      setTrouble(undefined)
      // Those that came before it heard any.
      again()
    }
    source.onmessage = ({ data }) => setNews((before) => [JSON.parse(data), ...before].slice(0, SHOWN))
    source.onerror = () => setTrouble(new Error("The live tail is interrupted; trying again."))
    return () => source.close()
  }, [isLive])
  const known = new Set(live.map(({ sequence }) => sequence))
  const rows = [...live, ...(report ?? []).toReversed().filter(({ sequence }) => !known.has(sequence))].slice(0, SHOWN)
  return html`<section class="card">
    <header class="row"><h3>Newest events</h3><button type="button" class="small" aria-pressed=${String(isLive)} onClick=${() => setLive(!isLive)}>${isLive ? "Live: on" : "Live: off"}</button></header>
    <${Problem} error=${error ?? trouble} />
    <${Nothing} of=${report && rows} isLoading=${isLoading}>The stream holds no event of this church.</${Nothing}>
    ${rows.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Newest events"><table>
      <thead><tr><th>Time</th><th>Sequence</th><th>Event</th><th>Status</th><th class="extra">Version</th><th class="extra">Delivered</th><th>Message</th></tr></thead>
      <tbody>${rows.map(({ sequence, at, event }) => html`<tr key=${sequence} class=${known.has(sequence) ? "fresh" : ""}>
        <td><${Time} at=${at} /></td><td class="numbers">${sequence}</td><td>${event?.type}</td><td>${event?.status && html`<${State} name=${event.status} />`}</td>
        <td class="extra numbers">${event?.version}</td><td class="extra numbers">${event?.recipientCount === undefined ? "" : `${event.deliveredCount} of ${event.recipientCount}`}</td>
        <td>${event?.messageId && html`<a href="#/messages/found/${event.messageId}"><code>${short(event.messageId)}</code></a>`}</td>
      </tr>`)}</tbody></table></div>`}
    <${Command} text=${command} />
  </section>`
}

function Revocations({ id, change }) {
  const { report, command, error, isLoading, again } = useReport(`/api/churches/${id}/revocations`, 10)
  const revoke = (whose, who, verb) => change({ change: { change: "revoke", church: id, whose }, question: `Revoke the tokens of ${who} in ${id} that were issued until now?`, verb, done: again })
  const revokeOne = (event) => {
    event.preventDefault()
    const { claim, person } = Object.fromEntries(new FormData(event.currentTarget))
    revoke({ person: { claim, id: person.trim() } }, `${claim} ${person.trim()}`, "Revoke")
  }
  const revokeAll = () => revoke("everybody", "everybody", "Revoke everybody")
  const undo = (one) => () =>
    change({ change: { change: "undoRevocation", church: id, whose: one.id ? { person: { claim: one.claim ?? "userId", id: one.id } } : "everybody" }, question: `Accept the tokens of ${one.id ? `${one.claim ?? ""} ${one.id}` : "everybody"} in ${id} again?`, verb: "Accept again", done: again })
  return html`<section class="card"><h3>Revoked tokens</h3>
    <${Problem} error=${error} />
    <${Nothing} of=${report} isLoading=${isLoading}>No tokens of this church are revoked.</${Nothing}>
    ${report?.map((one) => html`<p class="row" key=${`${one.claim} ${one.id}`}>
      <span>${one.id ? html`<strong>${one.claim} ${one.id}</strong>` : html`<strong>everybody</strong>`}, issued until <${Time} at=${one.issuedUntil} /></span>
      <button type="button" class="small" onClick=${undo(one)}>Undo…</button></p>`)}
    <form onSubmit=${revokeOne}>
      <label>Whose <select name="claim">${KINDS.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select></label>
      <label>Id <input name="person" size="12" required pattern=".*\\S.*" title="the person's id" autocomplete="off" /></label>
      <button>Revoke…</button>
      <span class="push"></span>
      <button type="button" onClick=${revokeAll}>Revoke everybody…</button>
    </form>
    <${Command} text=${command} />
  </section>`
}
