// Prints one line per event: {"at": milliseconds since 1970, "event": name, "data": payload}.
exports.say = (event, data = null) => {
  console.log(JSON.stringify({ at: performance.timeOrigin + performance.now(), event, data }));
};
