import { describe, expect, it } from 'vitest'
import { busConfig } from './config.ts'

describe('busConfig', () => {
  it('is embedded when nothing is said', () => {
    expect(busConfig.parse(undefined)).toEqual({ kind: 'embedded', retention: {} })
  })

  it('fills in everything but the brokers of kafka', () => {
    expect(busConfig.parse({ kind: 'kafka', brokers: ['kafka-1:9092'] })).toEqual({
      kind: 'kafka',
      brokers: ['kafka-1:9092'],
      client_id: 'tokenwatch',
      tls: false,
      topics: { prefix: '', replication: 3, min_insync_replicas: 2, partitions: {} },
      retention: {},
      compression: 'zstd',
      session_timeout: 10_000,
      rebalance_timeout: 60_000,
      request_timeout: 30_000,
      connect_timeout: 5_000,
      stalled_after: 120_000,
    })
    expect(busConfig.parse({ kind: 'embedded', retention: { 'usage.v1': '3d' } })).toEqual({ kind: 'embedded', retention: { 'usage.v1': 259_200_000 } })
  })

  it('refuses what would be a secret in a file, unknown topics and unknown fields', () => {
    const kafka = { kind: 'kafka', brokers: ['a:1'] }
    expect(busConfig.safeParse({ ...kafka, sasl: { username: 'u', password: 'plain text' } }).success).toBe(false)
    expect(busConfig.safeParse({ ...kafka, retention: { 'no.v1': '1d' } }).success).toBe(false)
    expect(busConfig.safeParse({ ...kafka, acks: 1 }).success).toBe(false)
    expect(busConfig.safeParse({ kind: 'kafka', brokers: [] }).success).toBe(false)
    expect(busConfig.safeParse({ kind: 'kafka', brokers: ['no-port'] }).success).toBe(false)
  })
})
