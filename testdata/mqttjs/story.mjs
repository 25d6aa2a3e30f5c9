// What any client can do, done with MQTT.js. Node and a page in a browser run the same file. The node under test delivers
// one message at a time (limits.window=1), so that whatever is not acknowledged stops everything.

const patience = 20_000

function within(promise, what) {
  let timer
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), patience) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

function equal(got, want, what) {
  const [a, b] = [got, want].map((v) => JSON.stringify(v))
  if (a !== b) throw new Error(`${what}: got ${a}, want ${b}`)
}

// A queue that can be waited on.
class Inbox {
  items = []
  waiting = []
  put(item) {
    const taker = this.waiting.shift()
    if (taker) taker(item)
    else this.items.push(item)
  }
  next(what) {
    if (this.items.length > 0) return Promise.resolve(this.items.shift())
    return within(new Promise((resolve) => this.waiting.push(resolve)), what)
  }
}

// One client. Options are those of MQTT.js; without a user it is a guest.
class Device {
  messages = new Inbox()
  acks = new Inbox() // PUBACKs
  connects = new Inbox() // CONNACKs
  sent = 0 // PUBLISHes

  static async open(mqtt, url, version, { user, keep, ...options }) {
    const d = new Device()
    d.version = version
    d.client = mqtt.connect(url, {
      protocolVersion: version, username: user, password: user && 'x', clean: !keep, reconnectPeriod: 50, ...options,
      properties: keep && version === 5 ? { sessionExpiryInterval: 3600 } : undefined,
    })
    d.client.on('message', (topic, payload, packet) => d.messages.put({ topic, payload: payload.toString(), packet }))
    d.client.on('connect', (connack) => d.connects.put(connack))
    d.client.on('packetreceive', (packet) => packet.cmd === 'puback' && d.acks.put(packet))
    d.client.on('packetsend', (packet) => { if (packet.cmd === 'publish') d.sent++ })
    const refused = new Promise((_, reject) => {
      d.client.once('error', reject)
      d.client.once('close', () => reject(new Error('the connection was closed')))
    })
    try {
      d.connack = await within(Promise.race([d.connects.next('CONNACK'), refused]), 'CONNACK')
    } catch (err) {
      d.client.end(true)
      throw err
    }
    refused.catch(() => {})
    return d
  }

  subscribe(...filters) { return within(this.client.subscribeAsync(filters, { qos: 1 }), `SUBACK ${filters}`) }

  // Publishes at QoS 1 and returns the PUBACK; what the library makes of it is its error.
  async publish(topic, payload) {
    const error = await within(this.client.publishAsync(topic, payload, { qos: 1 }).then(() => undefined, (err) => err), topic)
    return { ...(await this.acks.next('PUBACK')), error }
  }

  async say(room, ...texts) {
    for (const text of texts) equal((await this.publish(`chat/rooms/${room}/send`, text)).error, undefined, text)
  }

  async on(topic) {
    const m = await this.messages.next(topic)
    equal(m.topic, topic, m.payload)
    return JSON.parse(m.payload)
  }

  // The next messages are these entries of a room, each once and in order.
  async entries(room, from, to) {
    for (let seq = from; seq <= to; seq++) equal((await this.on(`chat/rooms/${room}/msg/text`)).seq, seq, 'seq')
  }

  // With a window of one the answer comes when everything before it is acknowledged.
  async settled() {
    this.calls = (this.calls ?? 0) + 1
    await this.publish('chat/me/rpc/whoami', JSON.stringify({ id: this.calls }))
    equal((await this.on('chat/me/reply')).ok, true, 'whoami')
  }

  end() { return within(this.client.endAsync(), 'the end') }
}

export async function story(mqtt, url, version, room) {
  const open = (options) => Device.open(mqtt, url, version, options)
  const [send, msgs] = [`chat/rooms/${room}/send`, `chat/rooms/${room}/msg/#`]
  const alice = await open({ user: 'alice', clientId: `phone-${room}` })
  const bob = await open({ user: 'bob', clientId: `web-${room}` })

  // They talk.
  await bob.subscribe(msgs)
  await alice.subscribe('chat/me/ack')
  const hello = JSON.stringify({ cid: 'c1', data: { text: '안녕' } })
  for (const duplicate of [undefined, true]) { // the second time the first outcome again
    const ack = await alice.publish(send, hello)
    if (version === 5) equal(ack.properties.userProperties.seq, '1', 'PUBACK')
    const told = await alice.on('chat/me/ack')
    equal([told.cid, told.mid, told.room, told.seq, told.duplicate], ['c1', ack.messageId, room, 1, duplicate], 'me/ack')
  }
  const { topic, payload, packet } = await bob.messages.next('안녕')
  const entry = JSON.parse(payload)
  equal([topic, entry], [`chat/rooms/${room}/msg/text`, {
    room, seq: 1, n: 1, ts: entry.ts, type: 'text', from: { user: 'alice', role: 'owner', device: `phone-${room}` },
    cid: 'c1', data: { text: '안녕' },
  }], 'the entry')
  if (!(Math.abs(Date.now() - entry.ts) < 60_000)) throw new Error(`ts is ${entry.ts}`)
  if (version === 5) equal({ ...packet.properties.userProperties }, { seq: '1', ts: String(entry.ts), from: 'alice' }, 'properties')

  // A late guest reads what was, then what comes, and is told why it may not write.
  for (let i = 2; i <= 30; i++) await alice.say(room, `m${i}`)
  await bob.entries(room, 2, 30)
  const guest = await open({})
  await guest.subscribe(`$last/20/${msgs}`, 'chat/me/error')
  await guest.entries(room, 11, 30)
  await alice.say(room, 'm31')
  await guest.entries(room, 31, 31)
  const refused = await guest.publish(send, 'x')
  const why = await guest.on('chat/me/error')
  equal([why.op, why.topic, why.mid, why.status, why.code], ['publish', send, refused.messageId, 403, 'guest_read_only'], 'me/error')
  if (version === 5) {
    equal([refused.error.code, refused.reasonCode], [0x87, 0x87], 'PUBACK')
    if (!refused.properties.reasonString) throw new Error('no reason string')
  } else {
    equal(refused.error, undefined, 'PUBACK')
  }
  await alice.say(room, 'm32')
  await guest.entries(room, 32, 32)
  equal(guest.sent, 1, 'publishes sent')

  // A session that was away gets what it missed, once and in order.
  const away = { user: 'carol', clientId: `tablet-${room}`, keep: true }
  let carol = await open(away)
  equal(carol.connack.sessionPresent, false, 'session present')
  await carol.subscribe(msgs, 'chat/me/reply')
  await alice.say(room, 'm33')
  await carol.entries(room, 33, 33)
  await carol.settled()
  await carol.end()
  await alice.say(room, 'm34', 'm35', 'm36')
  carol = await open(away)
  equal(carol.connack.sessionPresent, true, 'session present')
  await carol.entries(room, 34, 36)
  await carol.settled()
  // The same when the network goes and the library connects again by itself.
  carol.client.stream.destroy()
  await alice.say(room, 'm37', 'm38')
  equal((await carol.connects.next('the new connection')).sessionPresent, true, 'session present')
  await alice.say(room, 'm39')
  await carol.entries(room, 37, 39)

  for (const d of [alice, bob, guest, carol]) await d.end()
}
