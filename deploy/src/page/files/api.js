// Shows message-api's document. With the secret of the printed address, requests carry a token of the demo's church.

const secret = location.hash.slice(1)
const asked = { headers: { "X-Stack-Secret": secret, "Content-Type": "application/json" } }
const { api } = await (await fetch("/addresses", asked)).json()
const body = JSON.stringify({ church: "grace", user: "ann", seconds: 3600 })
const { token } = await (await fetch("/session", { ...asked, method: "POST", body })).json()

SwaggerUIBundle({
  url: `${api}/api/openapi.json`,
  dom_id: "#document",
  deepLinking: false,
  requestInterceptor: (request) => {
    request.headers.Authorization ??= `Bearer ${token}`
    return request
  },
})
