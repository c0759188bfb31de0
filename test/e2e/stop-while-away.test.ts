/** SIGTERM at the start, while Tokenwatch waits for what it stands on: it ends soon and with 0, for nothing was left undone. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { eventually, runTokenwatch, type Running } from '../support/process.ts'

let running: Running | undefined
afterEach(() => running?.stop('SIGKILL'))

/** An address where nobody listens. */
async function nobody(): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return `127.0.0.1:${port}`
}

it.each([
  ['ClickHouse', async () => ({ store: { kind: 'clickhouse', url: `http://${await nobody()}` } })],
  ['Kafka', async () => ({ bus: { kind: 'kafka', brokers: [await nobody()] } })],
])('waiting for %s', async (name, settings) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-stop-'))
  const config = path.join(directory, 'stop.yaml')
  writeFileSync(config, JSON.stringify({ data_dir: path.join(directory, 'data'), console: { listen: '127.0.0.1:0' }, ...(await settings()) }))
  const started = runTokenwatch(['start', '--config', config])
  running = started
  await eventually(`it waits for ${name}`, () => started.output().includes(`waiting for ${name}`))
  expect(await started.stop(), started.output()).toBe(0)
  expect(started.output()).toContain('stopping')
})
