import { createHmac } from 'node:crypto'
import { mkdtempSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { fingerprint, hashKey, pseudonym } from './fingerprint.ts'

describe('fingerprint', () => {
  it('is the same for a key however a header holds it, and another for another key or hash key', () => {
    const id = fingerprint('sk-test-1', 'a-key-for-tests-only')
    expect(id).toMatch(/^fp_[0-9a-f]{32}$/)
    for (const text of [' sk-test-1\n', 'Bearer sk-test-1', 'bearer  sk-test-1']) expect(fingerprint(text, 'a-key-for-tests-only')).toBe(id)
    expect(fingerprint('sk-test-2', 'a-key-for-tests-only')).not.toBe(id)
    expect(fingerprint('sk-test-1', 'another-key-for-tests')).not.toBe(id)
    // Its definition, so that ids that were stored stay what they are; asked twice, because the second answer is remembered.
    const defined = createHmac('sha256', 'a-key-for-tests-only').update('api-key sk-test-1').digest('hex')
    for (const again of [1, 2]) expect([again, fingerprint('sk-test-1', 'a-key-for-tests-only')]).toEqual([again, `fp_${defined.slice(0, 32)}`])
    expect(pseudonym('sk-test-1', 'a-key-for-tests-only').slice(5)).not.toBe(id.slice(3))
  })
})

describe('hash key', () => {
  it('is made once, readable by its owner only', () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'tokenwatch-')), 'data')
    const key = hashKey({}, folder)
    expect(key).toMatch(/^[0-9a-f]{64}$/)
    expect(hashKey({}, folder)).toBe(key)
    expect(statSync(join(folder, 'hash.key')).mode & 0o777).toBe(0o600)
  })
  it('is the configured one, if it is long enough', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'tokenwatch-')), 'key')
    writeFileSync(file, 'configured-hash-key\n')
    expect(hashKey({ hash_key: { file } }, '/nowhere')).toBe('configured-hash-key')
    writeFileSync(file, 'short')
    expect(() => hashKey({ hash_key: { file } }, '/nowhere')).toThrow('openssl rand -hex 32')
  })
})
