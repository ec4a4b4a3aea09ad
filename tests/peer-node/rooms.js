// Socket.IO: a client with a valid token joins its church's room.

import { randomUUID } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { Server } from 'socket.io'

/** Serves Socket.IO on an HTTP server. */
export function serve(http, secret) {
  const io = new Server(http, { serveClient: false, pingInterval: 25_000, pingTimeout: 20_000 })
  // As the documentation of Socket.IO advises: the first request of each session need not stay in memory.
  io.engine.on('connection', (raw) => { raw.request = null })
  io.use((socket, next) => {
    try {
      const claims = jwt.verify(socket.handshake.auth.token, secret, { algorithms: ['HS256'] })
      socket.data = { userId: claims.userId ?? claims.adminId ?? claims.sub, churchId: claims.churchId }
      next()
    } catch {
      next(new Error('Authentication error: invalid token'))
    }
  })
  io.on('connection', (socket) => {
    const { userId, churchId } = socket.data
    socket.join([`church:${churchId}`, `user:${churchId}:${userId}`])
    const timestamp = new Date().toISOString()
    socket.emit('connected', { status: 'connected', userId, churchId, socketId: socket.id, timestamp })
  })
  return io
}

/** Emits an event to its church. */
export function emit(io, event) {
  io.to(`church:${event.churchId}`).emit(event.type, event)
}

/** The events of a changed message's row. */
export function events(row) {
  const event = {
    eventId: randomUUID(), type: 'message:status_update', churchId: row.church_id, messageId: row.id,
    status: row.status, version: row.version, recipientCount: row.recipient_count,
    deliveredCount: row.delivered_count, failedCount: row.failed_count, unconfirmedCount: row.unconfirmed_count,
    changed: [{ recipientId: row.recipient_id, status: row.status }], timestamp: new Date().toISOString(),
  }
  const hasFinished = row.status !== 'pending' && row.is_first
  return hasFinished ? [event, { ...event, type: `message:${row.status}` }] : [event]
}
