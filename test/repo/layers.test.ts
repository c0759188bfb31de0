import { describe, expect, it } from 'vitest'
import { isTest, sourceFiles } from './source-files.ts'

/** What a room may import besides itself. The arrows of the architecture: they point one way. */
const BASE = ['schemas', 'runtime']
const MAY_IMPORT: Record<string, string[]> = {
  schemas: [],
  runtime: ['schemas'],
  pricing: BASE,
  bus: BASE,
  store: [...BASE, 'pricing', 'bus'],
  stream: [...BASE, 'pricing', 'bus', 'store'],
  ingest: [...BASE, 'pricing', 'bus', 'store', 'stream'],
  ledger: [...BASE, 'pricing', 'bus', 'store', 'stream'],
  detect: [...BASE, 'pricing', 'bus', 'store', 'stream'],
  alert: [...BASE, 'pricing', 'bus', 'store', 'stream'],
  console: [...BASE, 'pricing', 'bus', 'store', 'stream'],
  demo: BASE,
}
const everyRoom = Object.keys(MAY_IMPORT)
MAY_IMPORT['config.ts'] = everyRoom.filter((room) => room !== 'demo')
MAY_IMPORT['commands'] = [...everyRoom, 'config.ts']
MAY_IMPORT['main.ts'] = ['commands', 'runtime', 'config.ts']
MAY_IMPORT['scripts'] = [...everyRoom, 'config.ts', 'commands']

/** Client libraries that only one file may know. */
const SOLE_IMPORTER: Record<string, (file: string) => boolean> = {
  kafkajs: (file) => file.startsWith('bus/kafka'),
  '@clickhouse/client': (file) => file === 'store/clickhouse.ts',
  chdb: (file) => file.startsWith('store/embedded'),
  'node:sqlite': (file) => file.startsWith('bus/embedded'),
  '@azure/identity': (file) => file.startsWith('ingest/sources/azure-monitor/'),
  '@azure/monitor-query': (file) => file.startsWith('ingest/sources/azure-monitor/'),
  '@azure/monitor-query-logs': (file) => file.startsWith('ingest/sources/azure-monitor/'),
  '@aws-sdk/client-cloudwatch-logs': (file) => file.startsWith('ingest/sources/cloudwatch-logs/'),
  nodemailer: (file) => file.startsWith('alert/sinks/email/'),
}

const shipped = sourceFiles.filter(({ file }) => !isTest(file) && file.endsWith('.ts') && !file.startsWith('bench/'))

describe('the house', () => {
  it('has files to look at', () => expect(shipped.length).toBeGreaterThan(40))

  it('lets imports point one way only', () => {
    const wrong = shipped.flatMap(({ file, room, imports }) =>
      imports
        .filter((target) => target.endsWith('.ts') || target.endsWith('.json'))
        .filter((target) => {
          const other = target.includes('/') ? (target.split('/')[0] ?? '') : target
          return other !== room && !(MAY_IMPORT[room] ?? []).includes(other)
        })
        .map((target) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })

  it('has no circle', () => {
    const graph = new Map(shipped.map(({ file, imports }) => [file, imports]))
    const done = new Set<string>()
    const circles: string[] = []
    const visit = (file: string, trail: readonly string[]): void => {
      if (trail.includes(file)) circles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '))
      if (done.has(file) || trail.includes(file)) return
      for (const next of graph.get(file) ?? []) visit(next, [...trail, file])
      done.add(file)
    }
    for (const file of graph.keys()) visit(file, [])
    expect(circles).toEqual([])
  })

  it('keeps each client library behind one file', () => {
    const wrong = shipped.flatMap(({ file, imports }) =>
      imports
        .filter((target) => Object.entries(SOLE_IMPORTER).some(([name, allowed]) => (target === name || target.startsWith(`${name}/`)) && !allowed(file)))
        .map((target) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })

  it('keeps plugins to their port, their room and the shared ground', () => {
    const plugin = /^(ingest\/(?:sources|receivers|formats)|detect\/detectors|alert\/(?:sinks|responders))\/([^/]+)\//
    const wrong = shipped.flatMap(({ file, imports }) => {
      const own = plugin.exec(file)
      if (!own) return []
      return imports.filter((target) => {
        const other = plugin.exec(target)
        return other !== null && other[0] !== own[0]
      })
    })
    expect(wrong).toEqual([])
  })

  it('asks one clock and one source of randomness', () => {
    const direct = /\bDate\.now\(|\bnew Date\(\s*\)|\bsetTimeout\(|\bsetInterval\(|\bMath\.random\(|from 'node:timers/
    const wrong = shipped.filter(({ file, text }) => !file.startsWith('runtime/') && direct.test(text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, ''))).map(({ file }) => file)
    expect(wrong).toEqual([])
  })

  it('keeps files small enough to read at once', () => {
    const long = sourceFiles.map(({ file, text }) => ({ file, lines: text.split('\n').length - 1 })).filter(({ lines }) => lines > 400)
    expect(long).toEqual([])
  })

  it('has no junk drawers and no default exports', () => {
    expect(sourceFiles.filter(({ file }) => /(^|\/)(utils?|helpers?|common|types)(\/|\.ts$)/.test(file)).map(({ file }) => file)).toEqual([])
    expect(shipped.filter(({ text }) => /^export default/m.test(text)).map(({ file }) => file)).toEqual([])
    expect(shipped.filter(({ text }) => /^(export )?(enum|namespace) /m.test(text)).map(({ file }) => file)).toEqual([])
  })
})
