import { describe, expect, it } from 'vitest'
import type { Address } from './address.ts'
import { createLocator } from './locate.ts'

describe('locator', () => {
  const asked: Address[] = []
  const geo = { lookup: (address: Address) => (asked.push(address), { country: address.version === 4 ? 'DE' : 'US', asn: 1, as_name: 'x' }) }

  it('looks an address up once, for each certainty of its bits', () => {
    const locate = createLocator(geo, 'none')
    const flags: string[] = []
    for (let n = 0; n < 3; n++) {
      expect(locate('52.29.14.9', null, flags)).toEqual({ ip: { text: '52.29.14.9', prefix: 32 }, place: { country: 'DE', asn: 1, as_name: 'x' } })
      expect(locate('52.29.14.9', 24, flags).ip).toEqual({ text: '52.29.14.0', prefix: 24 })
      expect(locate('52.29.14.9', 20, flags).ip).toEqual({ text: '52.29.0.0', prefix: 20 })
      expect(locate('2a00:1450::1', null, flags).place?.country).toBe('US')
    }
    expect(flags).toEqual([])
    // 20 bits are none of those that are remembered.
    expect(asked.map(({ text, prefix }) => `${text}/${prefix}`)).toEqual(['52.29.14.9/32', '52.29.14.0/24', '52.29.0.0/20', '2a00:1450::1/128', '52.29.0.0/20', '52.29.0.0/20'])
  })

  it('flags what is no address each time, and keeps a truncated one with its place', () => {
    const locate = createLocator(geo, '/24+/48')
    for (let n = 0; n < 2; n++) {
      const flags: string[] = []
      expect(locate('010.1.2.3', null, flags)).toEqual({})
      expect(locate(null, null, flags)).toEqual({})
      expect(flags).toEqual(['bad-address'])
      expect(locate('52.29.14.9', null, flags)).toEqual({ ip: { text: '52.29.14.0', prefix: 24 }, place: { country: 'DE', asn: 1, as_name: 'x' } })
    }
  })
})
