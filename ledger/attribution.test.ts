import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { UsageError } from '../runtime/errors.ts'
import { attributionConfig } from '../schemas/attribution.ts'
import { readAttribution } from './attribution.ts'
import { pricesConfig, retentionConfig } from './config.ts'

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-attribution-'))
afterAll(() => rmSync(folder, { recursive: true }))
const csv = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return name
}

describe('attribution', () => {
  it('reads a CSV file beside the config, and entries after it', () => {
    const file = csv(
      'owners.csv',
      '\ufeffowner,team,service,cost_centre,contacts,from,until\nkey:a,search,ranking,CC-1,ann@example.com;bob@example.com,2026-01-01,\n"key:b","ads, video",,,,,2026-02-01\n',
    )
    const config = attributionConfig.parse({ csv: file, entries: [{ owner: 'key:c', team: 'maps' }] })
    expect(readAttribution(config, join(folder, 'tokenwatch.yaml'))).toEqual([
      { owner: 'key:a', team: 'search', service: 'ranking', cost_centre: 'CC-1', contacts: ['ann@example.com', 'bob@example.com'], from: '2026-01-01', until: null },
      { owner: 'key:b', team: 'ads, video', service: null, cost_centre: null, contacts: [], from: null, until: '2026-02-01' },
      { owner: 'key:c', team: 'maps', service: null, cost_centre: null, contacts: [], from: null, until: null },
    ])
  })

  it('takes a plain list, and nothing at all', () => {
    expect(readAttribution(attributionConfig.parse(undefined))).toEqual([])
    expect(readAttribution(attributionConfig.parse([{ owner: 'role:x', team: 'core' }]))).toHaveLength(1)
  })

  it('names every bad line, and a file that is missing', () => {
    const file = csv('bad.csv', 'owner,team,from,until,colour\nkey:a,,,,\nkey:b,ads,2026-02-01,2026-02-01,\nkey:c,ads,,,red\n')
    const read = (name: string) => readAttribution({ csv: join(folder, name), entries: [] })
    try {
      read(file)
      expect.unreachable()
    } catch (error) {
      const problems = (error as UsageError).problems.join('\n')
      expect(problems).toMatch(/bad\.csv, line 2: team/)
      expect(problems).toMatch(/bad\.csv, line 3: until: `from` must be before `until`/)
      expect(problems).toMatch(/bad\.csv, line 4: .*colour/)
    }
    expect(() => read('absent.csv')).toThrow(/absent\.csv cannot be read/)
  })
})

describe('config', () => {
  it('keeps everything and adds nothing by default', () => {
    expect(retentionConfig.parse(undefined)).toEqual({ events: 'forever', secret_access: 'forever', rollups: 'forever' })
    expect(pricesConfig.parse(undefined)).toEqual({ list: [], contract: [], discounts: [], deployments: {} })
  })

  it('refuses a retention that nothing would carry out, and unknown keys', () => {
    expect(retentionConfig.safeParse({ events: '90d' }).error?.issues[0]?.message).toMatch('nothing is deleted yet')
    expect(retentionConfig.safeParse({ event: '90d' }).success).toBe(false)
    expect(pricesConfig.safeParse({ discount: [] }).success).toBe(false)
    expect(pricesConfig.safeParse({ discounts: [{ provider: 'openai', percent: '101' }] }).success).toBe(false)
  })
})
