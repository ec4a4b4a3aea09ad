import assert from "node:assert/strict"
import { it } from "node:test"
import { createElement } from "react"
import { renderToString } from "react-dom/server"
import { connect } from "../src/index.js"
import { useConnection, useMessages, useReceived } from "../src/react.js"

it("renders on a server without connecting or asking for a token", () => {
  let asked = 0
  const token = async () => `${++asked}`
  const live = connect({ gateway: "http://gateway.invalid", api: "http://api.invalid", token })
  const Page = () => {
    const { messages } = useMessages(live)
    const { texts } = useReceived(live)
    return createElement("p", null, `${useConnection(live).name}, ${messages.length} messages, ${texts.length} texts`)
  }
  assert.equal(renderToString(createElement(Page)), "<p>connecting, 0 messages, 0 texts</p>")
  assert.equal(asked, 0)
})
