import { accessSample, CASE_DAY, CASE_MINUTE, CASE_START, type DetectorCase, failedSample, past, usageSample } from '../../detector-case.ts'

const then = CASE_START + 8 * CASE_DAY + 10 * 60 * CASE_MINUTE
const quiet = past(9, 5 * CASE_MINUTE, (at) => usageSample(at))
const stranger = { client_ip: '203.0.113.77', client_asn: 60_781, client_as_name: 'LEASEWEB-NL', client_country: 'NL' }
const nowhere = { client_ip: null, client_ip_prefix: null, client_asn: null, client_as_name: null, client_country: null }

export const cases: DetectorCase[] = [
  {
    name: 'a hosting provider in a new country while the usual use goes on',
    events: [...quiet, ...Array.from({ length: 40 }, (_, n) => usageSample(then + n * 15_000 + 1, stranger, n))],
    expect: [{ entity: 'key:fp_case', reason: 'concurrent-networks', severity: 'critical' }],
  },
  {
    name: 'a new network in the same country, the usual one has stopped',
    events: [...quiet, ...Array.from({ length: 10 }, (_, n) => usageSample(CASE_START + 9.5 * CASE_DAY + n * 15_000, { ...stranger, client_country: 'US' }, n))],
    expect: [{ entity: 'key:fp_case', reason: 'new-network', severity: 'medium' }],
  },
  {
    name: 'somebody reads a secret from elsewhere',
    events: [...past(9, 30 * CASE_MINUTE, (at) => accessSample(at)), accessSample(then + 12 * CASE_MINUTE, stranger, 1)],
    expect: [{ entity: 'actor:role/app', reason: 'new-country', severity: 'high' }],
  },
  {
    name: 'refused probes first, then calls that work from the same place an hour later: the probes must not make it a home',
    events: [
      ...quiet,
      ...Array.from({ length: 20 }, (_, n) => failedSample(then + n * 1000 + 1, 'model_not_found', stranger, n)),
      ...Array.from({ length: 10 }, (_, n) => usageSample(then + 75 * CASE_MINUTE + n * 15_000 + 1, stranger, n)),
    ],
    expect: [{ entity: 'key:fp_case', reason: 'concurrent-networks', severity: 'critical' }],
  },
  {
    name: 'one careful call an hour from a new place',
    events: [...quiet, ...Array.from({ length: 4 }, (_, n) => usageSample(then + n * 60 * CASE_MINUTE + 1, stranger, n))],
    expect: [{ entity: 'key:fp_case', reason: 'concurrent-networks', severity: 'critical' }],
  },
  {
    name: 'through proxies: forty networks, one call each',
    events: [...quiet, ...Array.from({ length: 40 }, (_, n) => usageSample(then + n * 10_000 + 1, { ...stranger, client_ip: `203.0.113.${n}`, client_asn: 65_000 + n }, n))],
    expect: [{ entity: 'key:fp_case', reason: 'concurrent-networks', severity: 'critical' }],
  },
  {
    name: 'a network of no country',
    events: [...quiet, ...Array.from({ length: 10 }, (_, n) => usageSample(then + n * 15_000 + 1, { ...stranger, client_country: null }, n))],
    expect: [{ entity: 'key:fp_case', reason: 'concurrent-networks', severity: 'high' }],
  },
  {
    name: 'its own cloud in another country: the country is new, the network is not',
    events: [...quiet, ...Array.from({ length: 10 }, (_, n) => usageSample(then + n * 15_000 + 1, { client_country: 'IE' }, n))],
    expect: [{ entity: 'key:fp_case', reason: 'new-country', severity: 'medium' }],
  },
  {
    name: 'a new network once with one call, and never again',
    events: [...quiet, usageSample(then + 1, stranger, 1)],
    expect: [],
  },
  {
    name: 'a deploy: other addresses of the same network',
    events: past(9, 5 * CASE_MINUTE, (at, n) => usageSample(at, { client_ip: `198.51.100.${n < 2000 ? 7 : 99}` })),
    expect: [],
  },
  { name: 'logs without addresses', events: past(9, 5 * CASE_MINUTE, (at, n) => usageSample(at, n < 2000 ? {} : nowhere)), expect: [] },
  { name: 'a key that is two days old', events: past(3, 5 * CASE_MINUTE, (at, n) => usageSample(at, n < 600 ? {} : stranger)), expect: [] },
  {
    name: 'a key that moves about: new networks are normal for it',
    events: past(12, 5 * CASE_MINUTE, (at, n) => usageSample(at, { client_asn: 64_500 + Math.floor(n / 200) })),
    expect: [],
  },
]
