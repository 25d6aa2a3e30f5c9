// usage: node talk.mjs URL VERSION ROOM
import mqtt from 'mqtt'
import { story } from './story.mjs'

const [url, version, room] = process.argv.slice(2)
await story(mqtt, url, Number(version), room)
process.exit(0)
