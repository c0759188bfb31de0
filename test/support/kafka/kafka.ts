/** A real Apache Kafka (KRaft, one node, 127.0.0.1) for tests: one shared by a whole test run, or an own one to stop and start. */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../../../runtime/clock.ts'
import { CACHE, ensureJars, withLock } from './jars.ts'

const run = promisify(execFile)
const START_LIMIT_MS = 90_000

export interface TestKafka {
  brokers: string[]
  /** Ends the broker; its data stay until the test process ends. */
  stop(): Promise<void>
  /** Starts it again on the same ports with the same data. */
  start(): Promise<void>
  /** Stops and removes the data. */
  remove(): Promise<void>
}

export interface KafkaOptions {
  /** Lines for server.properties, e.g. a second listener. `{port}` and `{directory}` are replaced. */
  properties?: Record<string, string>
  /** Arguments for `kafka-storage format`, e.g. --add-scram. */
  format?: readonly string[]
  /** Scheme of the client listener; default PLAINTEXT. */
  protocol?: 'PLAINTEXT' | 'SASL_PLAINTEXT' | 'SASL_SSL'
}

interface Shared {
  brokers: string[]
  keeper: number
}

/**
 * The broker of this test run: KAFKA_BROKERS if set, else one that the first test starts and that ends with the run
 * (it watches the parent of the test workers). Use topics or a prefix of your own.
 */
export async function ensureKafka(): Promise<{ brokers: string[] }> {
  const given = process.env['KAFKA_BROKERS']
  if (given !== undefined && given !== '') return { brokers: given.split(',') }
  const owner = process.ppid
  const note = join(CACHE, `shared-${owner}.json`)
  return withLock(`shared-${owner}`, async () => {
    if (existsSync(note)) {
      const shared = JSON.parse(readFileSync(note, 'utf8')) as Shared
      if (isAlive(shared.keeper)) return { brokers: shared.brokers }
    }
    const broker = await prepareBroker({}, owner)
    const keeper = await broker.launch()
    writeFileSync(note, JSON.stringify({ brokers: broker.brokers, keeper } satisfies Shared))
    return { brokers: broker.brokers }
  })
}

/** A broker of this test process alone. */
export async function startKafka(options: KafkaOptions = {}): Promise<TestKafka> {
  const broker = await prepareBroker(options, process.pid)
  let keeper = await broker.launch()
  const stop = async () => {
    if (!isAlive(keeper)) return
    process.kill(keeper, 'SIGTERM')
    while (isAlive(keeper)) await systemClock.sleep(50)
  }
  return {
    brokers: broker.brokers,
    stop,
    start: async () => {
      keeper = await broker.launch()
    },
    remove: async () => {
      await stop()
      rmSync(broker.directory, { recursive: true, force: true })
    },
  }
}

interface Prepared {
  brokers: string[]
  directory: string
  /** Resolves with the pid of the keeper when the broker answers. */
  launch(): Promise<number>
}

async function prepareBroker({ properties = {}, format = [], protocol = 'PLAINTEXT' }: KafkaOptions, owner: number): Promise<Prepared> {
  const jars = await ensureJars()
  const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-kafka-'))
  const [port, controller] = await freePorts()
  const config = join(directory, 'server.properties')
  const log = join(directory, 'broker.log')
  const lines = { ...serverProperties(port, controller, protocol, directory), ...properties }
  const filled = Object.entries(lines).map(([name, value]) => `${name}=${value.replaceAll('{port}', String(port)).replaceAll('{directory}', directory)}`)
  writeFileSync(config, `${filled.join('\n')}\n`)
  const classpath = ['-cp', join(jars, '*'), `-Dlog4j2.configurationFile=${join(import.meta.dirname, 'log4j2.properties')}`, `-Dbroker.log=${log}`]
  await run('java', ['-Xmx256m', '-XX:TieredStopAtLevel=1', ...classpath, 'kafka.tools.StorageTool', 'format', '-t', 'dG9rZW53YXRjaC10ZXN0cw', '-c', config, ...format])
  return {
    brokers: [`127.0.0.1:${port}`],
    directory,
    launch: async () => {
      writeFileSync(log, '')
      const java = ['-Xmx512m', '-Xms256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', ...classpath, 'kafka.Kafka', config]
      const child = spawn(process.execPath, [join(import.meta.dirname, 'keeper.ts'), String(owner), directory, 'keep', 'java', ...java], { detached: true, stdio: 'ignore' })
      child.unref()
      const keeper = child.pid ?? 0
      await untilStarted(log, keeper)
      return keeper
    },
  }
}

/** Small and quick: groups form at once, a dead consumer is noticed after its own session timeout, the log cleaner runs every second. */
function serverProperties(port: number, controller: number, protocol: string, directory: string): Record<string, string> {
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: `${protocol}://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `${protocol}://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': protocol,
    'listener.security.protocol.map': `CONTROLLER:PLAINTEXT,${protocol}:${protocol}`,
    'log.dirs': join(directory, 'data'),
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'log.cleaner.backoff.ms': '1000',
    'log.retention.check.interval.ms': '1000',
    'log.initial.task.delay.ms': '500',
    'log.cleaner.dedupe.buffer.size': '8388608',
    'num.network.threads': '2',
    'num.io.threads': '2',
    'log.segment.delete.delay.ms': '1000',
  }
}

async function untilStarted(log: string, keeper: number): Promise<void> {
  const limit = systemClock.now() + START_LIMIT_MS
  for (;;) {
    const text = readFileSync(log, 'utf8')
    if (text.includes('Kafka Server started')) return
    if (!isAlive(keeper) || systemClock.now() > limit) throw new Error(`the Kafka broker did not start, its log ends with:\n${text.slice(-3000)}`)
    await systemClock.sleep(100)
  }
}

async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()] as const
  const ports = await Promise.all(servers.map((server) => new Promise<number>((resolve) => server.listen(0, '127.0.0.1', () => resolve(portOf(server.address()))))))
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return [ports[0] ?? 0, ports[1] ?? 0]
}

const portOf = (address: string | { port: number } | null): number => (typeof address === 'object' && address !== null ? address.port : 0)

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
