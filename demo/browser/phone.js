// A phone in a browser: registers at the edge, and makes and answers calls. See README.md.
"use strict";

const AUDIO = { audio: true, video: false };
const phone = { ua: null, domain: "", session: null, events: [] };

function note(...words) {
  phone.events.push(words.join(" "));
  document.getElementById("events").textContent = phone.events.join("\n");
}

function register(edge, user, domain, password) {
  phone.domain = domain;
  phone.ua = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(edge)],
    uri: `sip:${user}@${domain}`,
    password,
    session_timers: false,
  });
  for (const name of ["connected", "disconnected", "registered", "registrationFailed"]) {
    phone.ua.on(name, (event) => note(name, (event && event.cause) || ""));
  }
  phone.ua.on("newRTCSession", ({ session }) => follow(session));
  phone.ua.start();
}

function follow(session) {
  phone.session = session;
  note(session.direction);
  for (const name of ["progress", "confirmed", "ended", "failed", "hold", "unhold"]) {
    session.on(name, (event) => note(name, (event && event.cause) || ""));
  }
  session.on("peerconnection", ({ peerconnection }) => listen(peerconnection));
  if (session.connection) {
    listen(session.connection);
  }
}

function listen(connection) {
  connection.addEventListener("track", (event) => {
    document.getElementById("sound").srcObject = event.streams[0];
  });
}

function call(number) {
  phone.ua.call(`sip:${number}@${phone.domain}`, { mediaConstraints: AUDIO });
}

function answer() {
  phone.session.answer({ mediaConstraints: AUDIO });
}

window.addEventListener("load", () => {
  document.getElementById("register").addEventListener("submit", (event) => {
    event.preventDefault();
    const { edge, user, domain, password } = Object.fromEntries(new FormData(event.target));
    register(edge, user, domain, password);
  });
  document.getElementById("call").addEventListener("submit", (event) => {
    event.preventDefault();
    call(new FormData(event.target).get("number"));
  });
  document.getElementById("answer").addEventListener("click", answer);
  document.getElementById("hold").addEventListener("click", () => phone.session.hold());
  document.getElementById("resume").addEventListener("click", () => phone.session.unhold());
  document.getElementById("end").addEventListener("click", () => phone.session.terminate());
});
