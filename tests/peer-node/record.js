// The record: one prepared statement applies a webhook, so it costs one round trip and one commit.

import { readFile } from 'node:fs/promises'
import pg from 'pg'

// Counters are far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)

const DELIVERED = 5
const RANKS = {
  queued: 0, sending: 1, sent: 2,
  delivery_unconfirmed: 3, unknown: 3,
  sending_failed: 4, delivery_failed: 4, expired: 4, cancelled: 4,
  delivered: DELIVERED, read: 6,
}

// A repeated event inserts nothing, so nothing after it happens. The recipient's row is locked before its rank is
// compared; a status never goes backwards. Without a change of counters (rank 2, say) the message stays as it is.
const APPLY = `
with event as (
  insert into webhooks (event_id, event_type, body) values ($1, $2, $3)
  on conflict do nothing returning event_id
), before as (
  select id, message_id, rank from recipients
  where provider_id = $4 and exists (select from event) for update
), changed as (
  update recipients r set rank = $5, failure_reason = $6
  from before where r.id = before.id and before.rank < $5
  returning r.id, r.message_id, before.rank
), counted as (
  select id as recipient_id, message_id, rank < 4 as is_first,
    case when $5 >= 5 and rank < 5 then 1 else 0 end as delivered,
    case when $5 = 4 then 1 when rank = 4 then -1 else 0 end as failed
  from changed where $5 >= 4
)
update messages m set
  version = version + 1,
  delivered_count = delivered_count + delivered,
  failed_count = failed_count + failed,
  updated_at = now(),
  status = case
    when delivered_count + delivered + failed_count + failed < recipient_count then 'pending'
    when delivered_count + delivered > 0 then 'delivered' else 'failed' end
from counted where m.id = counted.message_id
returning m.id, church_id, status, version, recipient_count, delivered_count, failed_count, unconfirmed_count,
  recipient_id, is_first`

/** Connects, and makes the tables if they are missing. */
export async function open(url, connections) {
  const pool = new pg.Pool({ connectionString: url, max: connections, min: connections, idleTimeoutMillis: 0 })
  pool.on('error', (error) => console.error(error.message))
  await pool.query(await readFile(new URL('schema.sql', import.meta.url), 'utf8'))
  return pool
}

/** Records a webhook. Returns the changed message's row, or nothing if no message changed. */
export async function apply(pool, body) {
  const { id, event_type: type, payload } = JSON.parse(body).data
  const { status } = payload.to[0]
  const reason = payload.errors?.[0]?.title ?? null
  const values = [id, type, body, payload.id, RANKS[status] ?? 0, reason]
  const { rows } = await pool.query({ name: 'apply', text: APPLY, values })
  return rows[0]
}
