// The view "Now": what needs attention, the numbers of the last five minutes, each process, and whether anything is lost.

import { html, useState } from "/htm-preact.js"
import { ask, useReport } from "/asking.js"
import { Following } from "/changes.js"
import { Command, Problem, Spark, State, Time } from "/parts.js"
import { ago, count, counted, rate, span } from "/words.js"

const per = (value) => `${rate(value)}/s`
/** Each group of numbers: title, and [name, label, how it is written, from where on it is wrong]. */
const GROUPS = [
  ["Webhooks in", [
    ["webhooks", "webhooks", per],
    ["refusals", "refused", per, 0.0001],
    ["answerSeconds", "answered within (p99)", span, 1.5],
    ["parked", "parked", count, 1],
  ]],
  ["Texts out", [
    ["sends", "posted to Telnyx", per],
    ["due", "due now", count],
    ["unanswered", "without an answer", count, 1],
    ["paused", "pauses", count, 1],
  ]],
  ["Events to browsers", [
    ["announced", "events", per],
    ["outboxWaiting", "waiting in the outbox", count],
    ["outboxSeconds", "the oldest for", span, 30],
    ["emitSeconds", "emitted within (p99)", span, 5],
    ["sockets", "sockets", count],
  ]],
]

export function Now({ mayChange, change }) {
  const { report, command, error, isLoading } = useReport("/api/now", 2)
  if (!report?.at) return html`<${Problem} error=${error} />${!error && html`<p class="nothing" aria-busy="true">Reading…</p>`}`
  const paused = report.pauses?.length ?? null
  const series = { ...report.series, paused: report.series.due.map(() => null) }
  series.paused[series.paused.length - 1] = paused
  return html`
    <${Problem} error=${error} />
    <${Attention} report=${report} />
    <div class="groups" aria-busy=${isLoading}>
      ${GROUPS.map(([title, numbers]) => html`<section class="card" key=${title}>
        <h2>${title}</h2>
        ${numbers.map(([name, label, written, wrong]) => html`<${Figure} key=${name} label=${label} points=${series[name] ?? []} written=${written} wrong=${wrong} plain=${name === "paused"} />`)}
      </section>`)}
    </div>
    <${Processes} processes=${report.processes} />
    <div class="halves">
      <${Lost} change=${change} />
      <${Pauses} pauses=${report.pauses} change=${change} />
    </div>
    <${Command} text=${command} />`
}

/** One number with its last five minutes. */
function Figure({ label, points, written, wrong, plain }) {
  const value = points.at(-1) ?? null
  const isWrong = value !== null && wrong !== undefined && value >= wrong
  const text = value === null ? "–" : written(value)
  const most = Math.max(...points.filter((point) => point !== null), 0)
  return html`<div class="figure">
    <span class="label">${label}</span>
    ${plain ? html`<span class="spark"></span>` : html`<${Spark} points=${points} label="${label}: now ${text}, at most ${written(most)} in five minutes" />`}
    <strong class=${isWrong ? "bad" : ""}>${text}</strong>
  </div>`
}

/** What somebody must look at, each with the place where it is seen. */
function Attention({ report }) {
  const found = problems(report)
  if (found.length === 0) return html`<p class="attention well"><strong role="status">Nothing needs attention.</strong> <span class="quiet">Read at <${Time} at=${report.at} />.</span></p>`
  return html`<section class="attention" aria-label="Needs attention">
    <strong role="status">${counted(found.length, "thing")} ${found.length === 1 ? "needs" : "need"} attention</strong>
    <ul>${found.map(([text, href]) => html`<li key=${text}>${href ? html`<a href=${href}>${text}</a>` : text}</li>`)}</ul>
  </section>`
}

/** What a process says of a pause, which is an item of its own. */
const PAUSED = /^degraded: .*paused by operators for /

function problems({ processes, series, database, pauses }) {
  const last = (name) => series[name]?.at(-1) ?? 0
  const found = []
  for (const { service, url, state, says } of processes) {
    const others = pauses?.length > 0 ? says.filter((why) => !PAUSED.test(why)) : says
    if (state !== "ready" && (others.length > 0 || says.length === 0)) found.push([`${service} at ${url} is ${state}: ${others.join("; ")}`])
  }
  if (database) found.push([`The database can't be read: ${database}`])
  if (last("outboxSeconds") >= 30) found.push([`The oldest event has waited in the outbox for ${span(last("outboxSeconds"))}`])
  if (last("refused") > 0) found.push([`The stream refuses ${counted(last("refused"), "event")}; run the audit below`])
  if (last("parked") > 0) found.push([`${count(last("parked"))} webhooks have no known recipient`, "#/webhooks/parked"])
  if (last("unanswered") > 0) found.push([`${count(last("unanswered"))} attempts have no answer from Telnyx`, "#/messages/unanswered"])
  for (const { churchId, by } of pauses ?? []) {
    found.push([`Sending is paused for ${churchId ?? "everybody"} by ${by.replace("operator:", "")}`, churchId && `#/churches/${churchId}`])
  }
  return found
}

function Processes({ processes }) {
  return html`<section class="card"><h2>Processes</h2>
    <table>
      <thead><tr><th>Service</th><th>State</th><th>Why</th><th class="extra">Version</th><th>Since</th><th class="extra">Operators' address</th></tr></thead>
      <tbody>${processes.map(({ service, url, state, says, version, startedAt }) => html`<tr key=${url}>
        <td>${service}</td>
        <td><${State} name=${state} /></td>
        <td>${says.length ? says.map((why) => html`<div key=${why}>${why}</div>`) : html`<span class="quiet">–</span>`}</td>
        <td class="extra">${version ?? "–"}</td>
        <td>${startedAt ? html`<${Time} at=${startedAt} /> <span class="quiet">${ago(startedAt)}</span>` : "–"}</td>
        <td class="extra quiet">${url}</td>
      </tr>`)}</tbody>
    </table>
  </section>`
}

/** The audit, which only reads, and the repair of what it found lost. */
function Lost({ change }) {
  const [id, setId] = useState()
  const [ended, setEnded] = useState()
  const [error, setError] = useState()
  const start = () => {
    setEnded(undefined)
    ask("/api/audit", {}).then(({ work }) => setId(work), setError)
  }
  const lost = ended?.report?.lost
  const repair = () => change({ change: { change: "repair" }, question: `Let the relay announce ${counted(lost, "lost event")} again?`, verb: "Repair", done: start })
  return html`<section class="card"><h2>Is anything lost?</h2>
    <p class="quiet">The audit sums all webhooks, recounts all messages and compares the outbox with the stream. It reads in small parts while the services run.</p>
    <${Problem} error=${error} />
    ${id && html`<${Following} key=${id} id=${id} done=${setEnded} />`}
    <div class="buttons">
      <button type="button" disabled=${Boolean(id) && !ended} onClick=${start}>${id ? "Audit again" : "Run the audit"}</button>
      ${lost > 0 && html`<button type="button" onClick=${repair}>Repair…</button>`}
    </div>
  </section>`
}

function Pauses({ pauses, change }) {
  const pause = () => change({ change: { change: "pause", church: null }, question: "Pause sending for everybody?", verb: "Pause" })
  const resume = (church) => () => change({ change: { change: "resume", church }, question: `Resume sending for ${church ?? "everybody"}?`, verb: "Resume" })
  return html`<section class="card"><h2>Sending</h2>
    ${!pauses && html`<p class="quiet">It is not known whether sending is paused.</p>`}
    ${pauses?.length === 0 && html`<p class="quiet">Sending is not paused. A pause holds texts back; webhooks and events go on.</p>`}
    ${pauses?.map(({ churchId, by, since }) => html`<p class="row" key=${churchId}>
      <span>Paused for <strong>${churchId ?? "everybody"}</strong> by ${by.replace("operator:", "")} since <${Time} at=${since} /></span>
      <button type="button" class="small" onClick=${resume(churchId)}>Resume…</button>
    </p>`)}
    <div class="buttons"><button type="button" onClick=${pause}>Pause everybody…</button></div>
  </section>`
}
