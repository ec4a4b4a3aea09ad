// Addresses and tokens from the environment: API, GATEWAY, and TOKENS, which are used one after the other. The last
// one is repeated.

const { say } = require("./saying");

const tokens = (process.env.TOKENS ?? "").split(",");

exports.api = process.env.API;
exports.gateway = process.env.GATEWAY;
exports.freshToken = async () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
exports.signIn = () => say("sign in");
