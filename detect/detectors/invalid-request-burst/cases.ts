import { accessSample, CASE_DAY, CASE_MINUTE, CASE_START, type DetectorCase, failedSample, past, usageSample } from '../../detector-case.ts'

const then = CASE_START + 5 * CASE_DAY + 10 * 60 * CASE_MINUTE
const quiet = past(6, 2 * CASE_MINUTE, (at, n) => (n % 50 === 7 ? failedSample(at, 'invalid_value') : usageSample(at)))
const stranger = { client_ip: '203.0.113.9', client_asn: 24_940, client_as_name: 'HETZNER-AS', client_country: 'DE' }
const inside = { client_asn: null, client_as_name: null, client_country: null }
const models = ['gpt-4o', 'o1', 'o3', 'gpt-4.1', 'dall-e-3']
const search = Array.from({ length: 60 }, (_, n) =>
  failedSample(then + n * 2000 + 1, n % 3 === 0 ? 'model_not_found' : 'invalid_value', { ...stranger, request_model: models[n % 5] ?? null }, n),
)

export const cases: DetectorCase[] = [
  {
    name: 'a leaked-key checker that finds what works',
    events: [...quiet, ...search, usageSample(then + 125_001, { ...stranger, request_model: 'o1' }, 99)],
    expect: [{ entity: 'key:fp_case', reason: 'recon-then-success', severity: 'critical' }],
  },
  { name: 'the search alone', events: [...quiet, ...search], expect: [{ entity: 'key:fp_case', reason: 'target-enumeration', severity: 'high' }] },
  {
    name: 'one address tries many keys',
    events: [
      ...quiet,
      ...Array.from({ length: 40 }, (_, n) => failedSample(then + n * 2000 + 1, 'invalid_api_key', { ...stranger, outcome: 'auth_failure', api_key_id: `fp_try${n}` }, n)),
    ],
    expect: [{ entity: 'address:203.0.113.9', reason: 'key-enumeration', severity: 'high' }],
  },
  {
    name: 'a bad parameter after a deploy: one code, one model, the usual network',
    events: [...quiet, ...Array.from({ length: 200 }, (_, n) => failedSample(then + n * 1500 + 1, 'unsupported_parameter', {}, n))],
    expect: [{ entity: 'key:fp_case', reason: 'misconfiguration', severity: 'low' }],
  },
  {
    name: 'an exhausted quota',
    events: [...quiet, ...Array.from({ length: 200 }, (_, n) => failedSample(then + n * 1500 + 1, 'insufficient_quota', { outcome: 'quota', status_code: 429 }, n))],
    expect: [{ entity: 'key:fp_case', reason: 'quota-exhausted', severity: 'low' }],
  },
  {
    name: 'denied reads of many secrets',
    events: [
      ...past(5, 10 * CASE_MINUTE, (at) => accessSample(at)),
      ...Array.from({ length: 20 }, (_, n) => accessSample(then + n * 200, { outcome: 'denied', error_code: 'AccessDeniedException', secret_id: `prod/secret-${n}` }, n + 1)),
    ],
    expect: [{ entity: 'actor:role/app', reason: 'denied-secret-search', severity: 'medium' }],
  },
  {
    name: 'the search ends in one bucket, what it found is used in the next',
    events: [...quiet, ...search, ...[11, 12, 40].map((minutes, n) => usageSample(then + minutes * CASE_MINUTE + 1, { ...stranger, request_model: 'o1' }, 99 + n))],
    expect: [
      { entity: 'key:fp_case', reason: 'target-enumeration', severity: 'high' },
      { entity: 'key:fp_case', reason: 'recon-then-success', severity: 'critical' },
    ],
  },
  {
    name: 'a bad release in a private network: every pod has a new address, the next release works',
    events: [
      ...past(6, 2 * CASE_MINUTE, (at) => usageSample(at, { ...inside, client_ip: '10.0.1.7' })),
      ...Array.from({ length: 200 }, (_, n) => failedSample(then + n * 1500 + 1, 'unsupported_parameter', { ...inside, client_ip: `10.0.2.${n % 4}` }, n)),
      usageSample(then + 301_001, { ...inside, client_ip: '10.0.2.1' }, 999),
    ],
    expect: [{ entity: 'key:fp_case', reason: 'misconfiguration', severity: 'low' }],
  },
  {
    name: 'three services behind one NAT gateway get the same bad library',
    events: ['a', 'b', 'c'].flatMap((name) => {
      const key = { api_key_id: `fp_${name}`, owner_ref: `key:fp_${name}`, request_model: `gpt-${name}` }
      return [
        ...past(6, 2 * CASE_MINUTE, (at) => usageSample(at, { ...key, model: `gpt-${name}` })),
        ...Array.from({ length: 60 }, (_, n) => failedSample(then + n * 5000 + 1, 'unsupported_parameter', key, n)),
      ]
    }),
    expect: ['a', 'b', 'c'].map((name) => ({ entity: `key:fp_${name}`, reason: 'misconfiguration', severity: 'low' })),
  },
  {
    name: 'a gateway sends a bad parameter to all of its eight models',
    events: [
      ...past(6, CASE_MINUTE, (at, n) => usageSample(at, { model: `model-${n % 8}`, request_model: `model-${n % 8}` })),
      ...Array.from({ length: 200 }, (_, n) => failedSample(then + n * 1500 + 1, 'unsupported_parameter', { request_model: `model-${n % 8}` }, n)),
    ],
    expect: [{ entity: 'key:fp_case', reason: 'misconfiguration', severity: 'low' }],
  },
  {
    name: 'a new busy gateway with few errors on all of its models',
    events: past(0.1, 200, (at, n) => {
      const request_model = `model-${Math.floor(n / 150) % 8}`
      return n % 150 === 0 ? failedSample(at, 'context_length_exceeded', { request_model }) : usageSample(at, { model: request_model, request_model })
    }),
    expect: [],
  },
  {
    name: 'a search after a release that failed for a day',
    events: [...quiet, ...past(1, 1000, (at, n) => failedSample(at + 3 * CASE_DAY, 'unsupported_parameter', {}, n)), ...search],
    expect: [
      { entity: 'key:fp_case', reason: 'misconfiguration', severity: 'low' },
      { entity: 'key:fp_case', reason: 'target-enumeration', severity: 'high' },
    ],
  },
  {
    name: 'a role that lost its policy asks for the six secrets that it always reads',
    events: [
      ...past(6, 5 * CASE_MINUTE, (at, n) => accessSample(at, { secret_id: `prod/own-${n % 6}` })),
      ...Array.from({ length: 30 }, (_, n) => accessSample(then + n * 2000, { outcome: 'denied', error_code: 'AccessDeniedException', secret_id: `prod/own-${n % 6}` }, n + 1)),
    ],
    expect: [{ entity: 'actor:role/app', reason: 'misconfiguration', severity: 'low' }],
  },
  { name: 'the usual errors', events: quiet, expect: [] },
]
