// One process that records Telnyx's webhooks and emits the changes to its own sockets.
//
// DATABASE_URL, JWT_SECRET and TELNYX_PUBLIC_KEY as in the suite; PORT; DATABASE_CONNECTIONS.

import { createServer } from 'node:http'
import express from 'express'
import { apply, open } from './record.js'
import * as rooms from './rooms.js'
import { verifier } from './signature.js'

const { DATABASE_URL, JWT_SECRET, TELNYX_PUBLIC_KEY, PORT, DATABASE_CONNECTIONS = '16' } = process.env
const RECEIVED = Buffer.from('{"received":true}')
const JSON_HEADERS = { 'content-type': 'application/json', 'content-length': RECEIVED.length }

const isTelnyx = verifier(TELNYX_PUBLIC_KEY)
const pool = await open(DATABASE_URL, Number(DATABASE_CONNECTIONS))
const app = express().disable('x-powered-by').disable('etag')
const http = createServer(app)
const io = rooms.serve(http, JWT_SECRET)

app.post('/webhooks/telnyx/:recipient', express.raw({ type: () => true, limit: '1mb' }), async (request, response) => {
  if (!(await isTelnyx(request.headers, request.body))) return response.status(401).end()
  const row = await apply(pool, request.body)
  response.writeHead(200, JSON_HEADERS).end(RECEIVED)
  if (row) rooms.events(row).forEach((event) => rooms.emit(io, event))
})

// What a webhook does after its commit, without the webhook: for measuring deliveries alone.
app.post('/emit', express.json({ limit: '64mb' }), (request, response) => {
  request.body.forEach((event) => rooms.emit(io, event))
  response.writeHead(200, JSON_HEADERS).end(RECEIVED)
})

app.use((error, request, response, next) => {
  console.error(error.message)
  response.status(error.status ?? 503).end()
})

http.listen(Number(PORT), '127.0.0.1')
