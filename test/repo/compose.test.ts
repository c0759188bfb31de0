import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { configSchema } from '../../config.ts'

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

interface Service {
  image: string
  environment?: Record<string, string | number>
  ports?: string[]
  volumes?: string[]
  healthcheck?: { test: string[] }
  depends_on?: Record<string, { condition: string }>
}
const text = read('docker-compose.yml')
const compose = parse(text) as { services: Record<string, Service>; volumes: Record<string, unknown> }
const services = Object.entries(compose.services)

// The schema calls 10s a duration; JSON Schema itself would have PT10S.
const formats = { duration: /^(\d+(us|ms|s|m|h))+$/, ports: true, expose: true, subnet_ip_address: true } as const
const validator = () => new Ajv2020({ strict: false, allErrors: true, formats }).compile(JSON.parse(read('test/support/compose-spec/compose-spec.json')) as object)

describe('docker-compose.yml', () => {
  it('follows the compose specification', () => {
    const check = validator()
    expect((check(compose), check.errors ?? [])).toEqual([])
    expect(text.match(/(interval|timeout|start_period|stop_grace_period): (?!\d+(ms|s|m)\n)/g)).toBeNull()
  })

  it('would be refused with a key that the specification does not know', () => {
    const check = validator()
    const { kafka } = compose.services
    expect(check({ ...compose, services: { ...compose.services, kafka: { ...kafka, helthcheck: {} } } })).toBe(false)
  })

  it.each(services)('%s: pinned, checked, bound to this host only', (_, service) => {
    expect(service.image).toMatch(/^[\w./-]+:\d+\.\d+(\.\d+)*$/)
    expect(service.healthcheck?.test[0]).toBe('CMD')
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/)
  })

  it('holds no password, and starts with none', () => {
    for (const [, service] of services) {
      for (const [name, value] of Object.entries(service.environment ?? {})) if (/PASSWORD|TOKEN|SECRET|HASH_KEY/.test(name)) expect(value).toMatch(/^\$\{[A-Z_]+:\?.+\}$/)
    }
  })

  it('keeps data in named volumes, and waits for what it needs', () => {
    const named = services.flatMap(([, service]) => (service.volumes ?? []).map((volume) => volume.split(':')[0] ?? '')).filter((name) => /^[a-z]/.test(name))
    expect(named.toSorted()).toEqual(Object.keys(compose.volumes).toSorted())
    expect(compose.services['tokenwatch']?.depends_on).toEqual({ kafka: { condition: 'service_healthy' }, clickhouse: { condition: 'service_healthy' } })
  })
})

describe('Dockerfile', () => {
  const lines = read('Dockerfile').split('\n')

  it('pins its base, runs without root, and is checked', () => {
    for (const from of lines.filter((line) => line.startsWith('FROM '))) expect(from).toMatch(/^FROM node:24\.\d+\.\d+-bookworm-slim( AS \w+)?$/)
    expect(lines.findLast((line) => line.startsWith('USER '))).toBe('USER node')
    expect(read('Dockerfile')).toMatch(/HEALTHCHECK[^]*\/readyz/)
    expect(read('Dockerfile')).toContain('npm ci --omit=dev')
  })
})

describe('examples/tokenwatch.yaml', () => {
  const config = configSchema.parse(parse(read('examples/tokenwatch.yaml')))

  it('names the hosts, the user and the secrets of the compose file', () => {
    expect(config.bus).toMatchObject({ kind: 'kafka', brokers: ['kafka:9092'] })
    expect(config.store).toMatchObject({ kind: 'clickhouse', url: 'http://clickhouse:8123', username: 'tokenwatch', password: { env: 'CLICKHOUSE_PASSWORD' } })
    const given = Object.keys(compose.services['tokenwatch']?.environment ?? {})
    const named = [...read('examples/tokenwatch.yaml').matchAll(/^[^#\n]*\{ env: (\w+) \}/gm)].map((match) => match[1] ?? '')
    expect(named.toSorted()).toEqual(given.toSorted())
  })

  it('cuts nothing until somebody says so', () => {
    expect(config.responses.policy).toBe('dry-run')
  })
})
