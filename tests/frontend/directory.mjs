// The endpoint of docs/recipients.md on a port of its own, over a stand-in for Prisma's client that knows the few
// queries that the endpoint makes.
//
//   node directory.mjs SECRET
//
// Says `listening` with its URL. Ends when standard input ends.

import express from "express"
import { recipients } from "./recipients.mjs"
import saying from "./saying.js"

const members = [
  { id: "m1", churchId: "grace", phone: "+12025551101", firstName: "Ann", lastName: "Lee", branchId: "north", groups: ["choir"] },
  { id: "m2", churchId: "grace", phone: "+12025552101", firstName: "Ben", lastName: "Kim", branchId: "south", groups: ["choir"] },
  { id: "m3", churchId: "grace", phone: "+12025553101", firstName: "Chi", lastName: "Park", branchId: "south", groups: [] },
  { id: "m4", churchId: "grace", phone: "+12025550102", firstName: "Dan", lastName: "Ade", branchId: "south", groups: ["choir"], optedOut: true },
  { id: "m5", churchId: "peace", phone: "+12025554101", firstName: "Eve", lastName: "Diaz", branchId: "north", groups: ["choir"] },
]
// More than two pages.
for (let i = 0; i < 2501; i++) {
  members.push({ id: `n${i}`, churchId: "hope", phone: `+1202${2000000 + i}`, firstName: null, lastName: null, groups: [] })
}
const names = (ids) => ids.map((id) => ({ id, churchId: "grace" }))

const matches = (row, where) =>
  Object.entries(where).every(([field, wanted]) => {
    const value = row[field]
    if (field === "AND") return wanted.every((one) => matches(row, one))
    if (wanted?.gt) return value > wanted.gt
    if (wanted?.in) return wanted.in.includes(value)
    if (wanted?.some) return value.some((id) => wanted.some.id.in.includes(id))
    return (value ?? false) === wanted
  })

const table = (rows) => ({
  async findMany({ where, cursor, skip = 0, take = rows.length, select }) {
    const found = rows.filter((row) => matches(row, where)).sort((a, b) => (a.id < b.id ? -1 : 1))
    const place = cursor ? found.findIndex((row) => row.id === cursor.id) : 0
    // Prisma finds nothing after a row that is gone.
    const page = place < 0 ? [] : found.slice(place + skip, place + skip + take)
    // Leaves between two pages.
    if (take === page.length) page.at(-1).optedOut = page.at(-1).churchId === "hope"
    const shown = (row) => Object.fromEntries(Object.keys(select).map((field) => [field, row[field]]))
    return page.map(shown)
  },
})

const prisma = { member: table(members), group: table(names(["choir"])), branch: table(names(["north", "south"])) }
const app = express().use("/internal/recipients", recipients(prisma, process.argv[2]))
const server = app.listen(0, "127.0.0.1", () => {
  saying.say("listening", `http://127.0.0.1:${server.address().port}/internal/recipients`)
})
process.stdin.on("end", () => process.exit(0)).resume()
