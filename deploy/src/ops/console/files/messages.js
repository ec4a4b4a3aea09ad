// The view "Messages": lists of what is wrong, search, and the life of one message.

import { html, useEffect, useState } from "/htm-preact.js"
import { ask, useReport } from "/asking.js"
import { Bar, Command, Lists, Nothing, Problem, State, Time } from "/parts.js"
import { counted, short, words } from "/words.js"

const LISTS = [
  ["stuck", "#/messages/stuck", "Stuck"],
  ["unanswered", "#/messages/unanswered", "Attempts without an answer"],
  ["failed", "#/messages/failed", "Failed in 24 hours"],
]

export function Messages({ rest, change }) {
  const [list = "stuck", ...more] = rest
  // #/messages/<list>/<id>; the lists "church" and "found" have what they show before the id.
  const hasKey = list === "church" || list === "found"
  const [key, id] = hasKey ? more : [undefined, more[0]]
  const base = `#/messages/${list}${hasKey ? `/${encodeURIComponent(key ?? "")}` : ""}`
  return html`<div class=${id ? "panes open" : "panes"}>
    <section class="pane list" aria-label="Messages">
      <${Search} />
      <${Lists} label="Lists of messages" lists=${LISTS} current=${list} />
      ${(list === "stuck" || list === "unanswered") && html`<${Stuck} list=${list} base=${base} id=${id} />`}
      ${list === "failed" && html`<${Failed} base=${base} id=${id} />`}
      ${list === "church" && html`<${OfChurch} key=${key} church=${key} base=${base} id=${id} />`}
      ${list === "found" && html`<${Found} text=${key} base=${base} id=${id} />`}
    </section>
    <section class="pane detail" aria-label="Message">
      ${id ? html`<${Life} key=${id} id=${id} back=${base} change=${change} />` : html`<p class="nothing">Choose a message, or search for one.</p>`}
    </section>
  </div>`
}

/** One field for everything that leads to messages. */
function Search() {
  const search = (event) => {
    event.preventDefault()
    const written = new FormData(event.currentTarget).get("text").trim()
    if (!written) return
    const text = written.startsWith("+") ? written.replace(/[\s().-]/g, "") : written
    const isChurch = /^[\w-]{1,64}$/.test(text) && !/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(text)
    location.hash = `#/messages/${isChurch ? "church" : "found"}/${encodeURIComponent(text)}`
  }
  return html`<form role="search" onSubmit=${search}>
    <input type="search" name="text" placeholder="Our id, Telnyx's id, +15551234567, or a church" aria-label="Our id, Telnyx's id, a number, or a church" autocomplete="off" spellcheck="false" />
    <button>Search</button>
  </form>`
}

function Stuck({ list, base, id }) {
  const path = list === "stuck" ? "/api/messages/stuck" : "/api/messages/stuck?waiting=unanswered"
  const { report, command, error, isLoading } = useReport(path, 10)
  const says = list === "stuck" ? "Recipients that have waited for ten minutes or longer." : "Nobody knows yet whether Telnyx has these texts. They are never sent again by themselves."
  return html`<p class="quiet">${says}</p>
    <${Problem} error=${error} />
    <${Nothing} of=${report} isLoading=${isLoading}>Nothing is stuck.</${Nothing}>
    <ul class="rows">${report?.map((one) => html`<${Row} key=${one.messageId + one.waiting} href="${base}/${one.messageId}" isOpen=${one.messageId === id}>
      <span><strong>${one.churchId}</strong> <${State} name=${one.waiting}>${words(one.waiting)}</${State}></span>
      <span class="numbers">${counted(one.recipients, "recipient")}</span>
      <code>${short(one.messageId)}</code>
      <span class="quiet">since <${Time} at=${one.since} withAge /></span>
    </${Row}>`)}</ul>
    <${Command} text=${command} />`
}

function Failed({ base, id }) {
  const [code, setCode] = useState()
  const { report, command, error, isLoading } = useReport(`/api/messages/failed${code === undefined ? "" : `?code=${encodeURIComponent(code)}`}`, 10)
  const all = useReport("/api/messages/failed", 30)
  const reasons = all.report?.reasons
  return html`<${Problem} error=${error} />
    <${Nothing} of=${reasons} isLoading=${all.isLoading}>No recipient failed.</${Nothing}>
    ${reasons?.length > 0 && html`<ul class="reasons">
      ${reasons.map((reason) => html`<li key=${reason.code}><button type="button" aria-pressed=${String(code === reason.code)} onClick=${() => setCode(code === reason.code ? undefined : reason.code)}>
        <strong class="numbers">${reason.recipients.toLocaleString("en")}</strong> <span>${reason.reason || "no reason known"}</span> <code>${reason.code}</code></button></li>`)}
    </ul>`}
    ${!isLoading && html`<ul class="rows">${report?.recipients.map((one) => html`<${Row} key=${one.recipientId} href="${base}/${one.recipientId}" isOpen=${one.recipientId === id || one.messageId === id}>
      <span><strong>${one.churchId}</strong> ${one.phone}</span>
      <code>${one.code}</code>
      <code>${short(one.messageId)}</code>
      <span class="quiet"><${Time} at=${one.failedAt} withAge />${one.retryId && ", retried"}</span>
    </${Row}>`)}</ul>`}
    <${Command} text=${command} />`
}

function OfChurch({ church, base, id }) {
  const [pages, setPages] = useState([])
  const [error, setError] = useState()
  const next = pages.at(-1)?.next
  const read = (before) =>
    ask(`/api/messages?church=${encodeURIComponent(church)}${before ? `&before=${before}` : ""}`).then(({ report }) => setPages((known) => [...known, report]), setError)
  useEffect(() => void read(), [])
  const rows = pages.flatMap(({ messages }) => messages)
  return html`<p>Messages of <strong>${church}</strong>, the newest first. <a href="#/churches/${church}">The church</a></p>
    <${Problem} error=${error} />
    <${Nothing} of=${rows} isLoading=${pages.length === 0 && !error}>This church has no message.</${Nothing}>
    <ul class="rows">${rows.map((one) => html`<${Row} key=${one.messageId} href="${base}/${one.messageId}" isOpen=${one.messageId === id}>
      <span><${State} name=${one.status} /> ${one.failureReason && html`<span class="bad">${one.failureReason}</span>`}</span>
      <span class="numbers">${one.deliveredCount} of ${one.recipientCount}</span>
      <code>${short(one.messageId)}</code>
      <span class="quiet"><${Time} at=${one.createdAt} withAge /></span>
    </${Row}>`)}</ul>
    ${next && html`<button type="button" onClick=${() => read(next)}>Older</button>`}`
}

function Found({ text, base, id }) {
  const { report, command, error, isLoading } = useReport(`/api/messages/search?text=${encodeURIComponent(text)}`)
  useEffect(() => {
    const only = report?.length === 1 ? report[0] : undefined
    if (only && !id) location.replace(`${base}/${only.recipientId ?? only.messageId}`)
  }, [report])
  return html`<${Problem} error=${error} />
    ${error && /^[\w-]{1,64}$/.test(text) && html`<p><a href="#/messages/church/${text}">Messages of a church of this name</a></p>`}
    <${Nothing} of=${report} isLoading=${isLoading && !error}>Nothing was found.</${Nothing}>
    <ul class="rows">${report?.map((one) => html`<${Row} key=${one.messageId} href="${base}/${one.recipientId ?? one.messageId}" isOpen=${(one.recipientId ?? one.messageId) === id}>
      <span><strong>${one.churchId}</strong></span><span></span><code>${short(one.messageId)}</code>
    </${Row}>`)}</ul>
    <${Command} text=${command} />`
}

function Row({ href, isOpen, children }) {
  return html`<li><a data-row href=${href} aria-current=${isOpen ? "true" : undefined}>${children}</a></li>`
}

/** Everything that is recorded of a message. */
function Life({ id, back, change }) {
  const { report: life, command, error, isLoading, again } = useReport(`/api/messages/${encodeURIComponent(id)}`, 5)
  const [unresolved, setUnresolved] = useState(false)
  const retry = () => change({ change: { change: "retry", id: life.messageId, includeUnresolved: unresolved }, question: "Send this message again to those whom it did not reach?", verb: "Send again", done: again })
  const cancel = () => change({ change: { change: "cancel", id: life.messageId }, question: "Cancel what has not left yet?", verb: "Cancel the rest", done: again })
  if (!life) return html`<a class="back" href=${back}>Back</a><${Problem} error=${error} /><${Nothing} isLoading=${isLoading} />`
  const open = life.recipientCount - life.deliveredCount - life.failedCount - life.unconfirmedCount
  return html`
    <a class="back" href=${back}>Back</a>
    <header class="row">
      <h2>Message <code>${life.messageId}</code></h2><${State} name=${life.status} />
    </header>
    <${Problem} error=${error} />
    <${Bar} all=${life.recipientCount} good=${life.deliveredCount} failed=${life.failedCount} unconfirmed=${life.unconfirmedCount} />
    <p class="numbers">${counted(life.recipientCount, "recipient")}: ${life.deliveredCount} delivered (${life.readCount} read), ${life.failedCount} failed (${life.cancelledCount} cancelled), ${life.unconfirmedCount} unconfirmed, ${open} open</p>
    <dl class="facts">
      <div><dt>Church</dt><dd><a href="#/churches/${life.churchId}">${life.churchId}</a></dd></div>
      <div><dt>By</dt><dd>${life.authorId}</dd></div>
      <div><dt>Sent as</dt><dd>${life.sender ?? "–"}</dd></div>
      <div><dt>Version</dt><dd>${life.version}</dd></div>
      ${life.sendAt && html`<div><dt>Not before</dt><dd><${Time} at=${life.sendAt} /></dd></div>`}
      ${life.cancelledBy && html`<div><dt>Cancelled by</dt><dd>${life.cancelledBy}</dd></div>`}
      ${life.retryOf && html`<div><dt>Retries</dt><dd><a href="${back}/${life.retryOf}"><code>${short(life.retryOf)}</code></a></dd></div>`}
    </dl>
    <div class="buttons">
      <button type="button" disabled=${life.failedCount === 0} onClick=${retry}>Send again…</button>
      <label><input type="checkbox" checked=${unresolved} onChange=${(event) => setUnresolved(event.currentTarget.checked)} /> also those of whom nobody knows whether it reached them</label>
      <button type="button" disabled=${open === 0} onClick=${cancel}>Cancel…</button>
    </div>
    <${Recipients} life=${life} back=${back} />
    <h3>Its life</h3>
    <ol class="life">${life.steps.map((step, index) => html`<${Step} key=${index} step=${step} several=${life.recipientCount > 1} before=${life.steps[index - 1]} />`)}</ol>
    ${life.notes.map((note) => html`<p class="quiet" key=${note}>${note}</p>`)}
    <${Command} text=${command} />`
}

function Recipients({ life, back }) {
  const isOne = life.recipients.length === 1 && life.recipientCount > 1
  return html`<h3>${isOne ? "One recipient" : "Recipients"}</h3>
    <table>
      <thead><tr><th>Number</th><th>State</th><th>Why</th><th class="extra">Telnyx's id</th></tr></thead>
      <tbody>${life.recipients.map((one) => html`<tr key=${one.id}>
        <td>${one.phone}</td><td><${State} name=${one.status} /></td>
        <td>${one.failureReason ? html`${one.failureReason} <code>${one.failureCode}</code>` : html`<span class="quiet">–</span>`}${one.retryId && html` <a href="${back}/${one.retryId}">retried</a>`}</td>
        <td class="extra"><code title=${one.telnyxId}>${one.telnyxId ? short(one.telnyxId) : "–"}</code></td>
      </tr>`)}</tbody>
    </table>
    ${life.moreRecipients > 0 && html`<p class="quiet">And ${life.moreRecipients.toLocaleString("en")} more. ${isOne ? html`<a href="${back}/${life.messageId}">The whole message</a>` : "The unfinished and the failed ones are shown first; search for a recipient's number or Telnyx's id to see another."}</p>`}`
}

function Step({ step, several, before }) {
  const isSameTime = before && before.at.slice(0, 19) === step.at.slice(0, 19)
  return html`<li class=${step.step.replaceAll(" ", "-")}>
    <span class="when">${isSameTime ? html`<span class="quiet">″</span>` : html`<${Time} at=${step.at} />`}</span>
    <${State} name=${step.step}>${words(step.step)}</${State}>
    <span>${step.says}${several && step.recipientId && html` <code class="quiet" title=${step.recipientId}>${short(step.recipientId)}</code>`}</span>
  </li>`
}
