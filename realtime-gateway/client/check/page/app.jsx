// A page with each hook, in StrictMode.

import { StrictMode } from "react"
import { createRoot } from "react-dom/client"
import { connect } from "church-live/index.js"
import { useConnection, useMessage, useMessages } from "church-live/react.js"

const { gateway, api, token } = Object.fromEntries(new URLSearchParams(location.search))
const live = connect({ gateway, api, token: async () => token })

function Messages() {
  const { messages } = useMessages(live)
  return <ul>{messages.map(({ id }) => <Line key={id} id={id} />)}</ul>
}

function Line({ id }) {
  const message = useMessage(live, id)
  return <li id={`m-${id}`}>{message?.content}: {message?.status}</li>
}

function Connection() {
  const { name } = useConnection(live)
  return <p id="state">{name}</p>
}

function Send() {
  const send = () => void live.send({ content: "From the page", recipients: [{ phone: "+12025550101" }] })
  return <button id="send" onClick={send}>Send</button>
}

createRoot(document.getElementById("page")).render(
  <StrictMode>
    <Connection />
    <Send />
    <Messages />
  </StrictMode>,
)
