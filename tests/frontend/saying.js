// One line for each thing seen: {"at": milliseconds since 1970, "event": name, "data": payload}.
exports.say = (event, data = null) => {
  console.log(JSON.stringify({ at: performance.timeOrigin + performance.now(), event, data }));
};
