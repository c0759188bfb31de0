import { mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress, truncated } from './address.ts'
import { openGeo } from './enrich.ts'

const cache_dir = mkdtempSync(join(tmpdir(), 'tokenwatch-'))
const geo = openGeo({ cache_dir })
const lookup = (text: string, prefix: number | null = null) => {
  const address = parseAddress(text, prefix)
  return address === undefined ? undefined : geo.lookup(address)
}

describe('addresses', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7', 32],
    ['203.0.113.7:443', '203.0.113.7', 32],
    [' 203.0.113.7 ', '203.0.113.7', 32],
    ['::ffff:203.0.113.7', '203.0.113.7', 32],
    ['[2001:DB8:0:0::1]:443', '2001:db8::1', 128],
    ['fe80::1%eth0', 'fe80::1', 128],
    ['81.2.69.***', '81.2.69.0', 24],
    ['81.2.69.x', '81.2.69.0', 24],
    ['203.0.113.7:443, 10.0.0.1', '203.0.113.7', 32],
  ])('%s', (text, canonical, prefix) => expect(parseAddress(text)).toMatchObject({ text: canonical, prefix }))

  it.each(['', 'AWS Internal', 'secretsmanager.amazonaws.com', '1.2.3', '1.2.3.4.5', '999.1.1.1', '010.1.2.3', '1.2.3.04', '::g', 'localhost', '1.2.3.4/24', '0x7f.1', '*.*.*.*'])(
    'no address: %j',
    (text) => {
      expect(parseAddress(text)).toBeUndefined()
    },
  )

  it('never throws, and what it gives is what it takes', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.option(fc.integer({ min: 0, max: 128 })), (text, prefix) => void parseAddress(text, prefix)))
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.option(fc.integer({ min: 0, max: 128 })), (text, prefix) => {
        const address = parseAddress(text, prefix)
        if (address === undefined) throw new Error(text)
        expect(parseAddress(address.text)?.text).toBe(address.text)
        expect(truncated(truncated(address))).toEqual(truncated(address))
        expect(geo.lookup(address).country ?? 'XX').toMatch(/^[A-Z]{2}$/)
      }),
    )
  })
})

describe('places', () => {
  // Networks that their owners publish and that stand for years; countries only where one country is meant.
  it.each([
    ['8.8.8.8', 'US', 15169],
    ['1.1.1.1', null, 13335],
    ['9.9.9.9', null, 19281],
    ['52.95.110.1', 'US', 16509],
    ['3.5.140.2', null, 16509],
    ['20.190.128.1', null, 8075],
    ['104.16.1.1', null, 13335],
    ['81.2.69.144', 'GB', 20712],
    ['193.0.6.139', 'NL', 3333],
    ['2001:4860:4860::8888', 'US', 15169],
    ['2606:4700:4700::1111', null, 13335],
    ['2600:1f18::1', 'US', null],
  ])('%s', (text, country, asn) => {
    const place = lookup(text)
    if (country !== null) expect(place?.country).toBe(country)
    if (asn !== null) expect(place?.asn).toBe(asn)
    expect(place?.as_name).not.toBe('')
  })

  it.each([
    '10.1.2.3',
    '127.0.0.1',
    '100.64.1.1',
    '169.254.169.254',
    '172.31.0.1',
    '192.168.1.1',
    '192.0.2.1',
    '198.51.100.1',
    '203.0.113.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '0.0.0.0',
    '::1',
    'fe80::1',
    'fc00::1',
    '2001:db8::1',
    'ff02::1',
  ])('nowhere: %s', (text) => expect(lookup(text)).toEqual({ country: null, asn: null, as_name: null }))

  it('of a masked address only what the whole /24 agrees on', () => {
    expect(lookup('8.8.8.***')?.country).toBe('US')
    expect(lookup('8.8.8.0', 16)).toEqual({ country: null, asn: null, as_name: null })
    const split = findSplit()
    expect(lookup(`${split}.***`)?.country).toBeNull()
  })

  it('keeps the packed table and reads the same from it', () => {
    expect(readdirSync(cache_dir)).toHaveLength(1)
    const again = openGeo({ cache_dir })
    for (const text of ['8.8.8.8', '81.2.69.144', '2606:4700:4700::1111', '223.255.255.1']) {
      const address = parseAddress(text)
      if (address !== undefined) expect(again.lookup(address)).toEqual(geo.lookup(address))
    }
  })

  it('says what to do about a database that cannot be read', () => {
    const broken = openGeo({ country_db: '/nowhere/x.mmdb' })
    expect(() => broken.lookup(parseAddress('8.8.8.8') ?? never())).toThrow(/x\.mmdb.*geo\.country_db/)
    expect(broken.lookup(parseAddress('10.0.0.1') ?? never()).country, 'opened only for public addresses').toBeNull()
  })
})

const never = (): never => {
  throw new Error('no address')
}

/** A /24 that two countries share: the data has some among the small networks of Europe. */
function findSplit(): string {
  for (let second = 0; second < 256; second++) {
    for (let third = 0; third < 256; third += 1) {
      const base = `185.${second}.${third}`
      if (lookup(`${base}.0`)?.country !== lookup(`${base}.200`)?.country) return base
    }
  }
  throw new Error('no split network found')
}
