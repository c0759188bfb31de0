/** CloudTrail lines of the made-up company: its services read their keys from Secrets Manager when they start, and rotate them now and then. */
import { isoTime } from '../runtime/clock.ts'
import { seededRandom } from '../runtime/random.ts'
import type { Company, Service } from './company.ts'
import { guid, hex, token } from './made-up.ts'
import { pick, poisson, type TimedLine } from './sampling.ts'

const HOUR_MS = 3_600_000
const FILE = 'cloudtrail.jsonl'
const READS_PER_HOUR = 0.16 // a restart every six hours or so

/** The secret reads of one hour: each GetSecretValue brings the Decrypt that Secrets Manager makes for the caller. */
export function secretLines(company: Company, hour: number): TimedLine[] {
  return company.services
    .filter((service) => service.provider === 'openai' && service.attributed)
    .flatMap((service) => {
      const cell = `${company.seed} secret ${service.id} ${hour}`
      const random = seededRandom(Number.parseInt(hex(cell, 8), 16))
      return Array.from({ length: poisson(READS_PER_HOUR, random) }, (_, n): TimedLine[] => {
        const at = hour * HOUR_MS + Math.floor(random() * (HOUR_MS - 2000))
        const read = { company, service, at, id: `${cell} ${n}`, address: pick(service.addresses, random), replica: pick(service.replicas, random) }
        return [
          { at, file: FILE, line: () => JSON.stringify(getSecretValue(read)) },
          { at: at + 1000, file: FILE, line: () => JSON.stringify(decrypt(read)) },
        ]
      }).flat()
    })
}

interface SecretRead {
  company: Company
  service: Service
  at: number
  id: string
  address: string
  replica: string
}

function getSecretValue(read: SecretRead): object {
  return {
    ...header(read, 'secretsmanager.amazonaws.com', 'GetSecretValue', read.at),
    sourceIPAddress: read.address,
    userAgent: 'aws-sdk-js/3.901.0 md/nodejs#24.4.0 lang/js os/linux',
    requestParameters: { secretId: `prod/${read.service.team}/${read.service.id}/openai-key`, versionStage: 'AWSCURRENT' },
    responseElements: null,
    requestID: guid(`${read.id} request`),
    eventID: guid(`${read.id} get`),
    tlsDetails: { tlsVersion: 'TLSv1.3', cipherSuite: 'TLS_AES_128_GCM_SHA256', clientProvidedHostHeader: `secretsmanager.${read.service.region}.amazonaws.com` },
  }
}

function decrypt(read: SecretRead): object {
  const { company, service } = read
  const key = `arn:aws:kms:${service.region}:${company.account_id}:key/${guid(`${company.seed} kms`)}`
  return {
    ...header(read, 'kms.amazonaws.com', 'Decrypt', read.at + 1000),
    userIdentity: { ...identity(read), invokedBy: 'secretsmanager.amazonaws.com' },
    sourceIPAddress: 'secretsmanager.amazonaws.com',
    userAgent: 'secretsmanager.amazonaws.com',
    requestParameters: {
      encryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      encryptionContext: { SecretARN: secretArn(read), SecretVersionId: guid(`${company.seed} ${service.id} version`) },
    },
    responseElements: null,
    requestID: guid(`${read.id} decrypt request`),
    eventID: guid(`${read.id} decrypt`),
    resources: [{ accountId: company.account_id, type: 'AWS::KMS::Key', ARN: key }],
  }
}

const header = (read: SecretRead, eventSource: string, eventName: string, at: number) => ({
  eventVersion: '1.11',
  userIdentity: identity(read),
  eventTime: isoTime(at).replace(/\.\d{3}Z$/, 'Z'),
  eventSource,
  eventName,
  awsRegion: read.service.region,
  readOnly: true,
  eventType: 'AwsApiCall',
  managementEvent: true,
  recipientAccountId: read.company.account_id,
  eventCategory: 'Management',
})

function identity({ company, service, replica }: SecretRead): object {
  const account = company.account_id
  const role = `${service.id}-runtime`
  return {
    type: 'AssumedRole',
    principalId: `AROA${idText(role, 17)}:${replica}`,
    arn: `arn:aws:sts::${account}:assumed-role/${role}/${replica}`,
    accountId: account,
    accessKeyId: `ASIA${idText(replica, 16)}`,
    sessionContext: {
      sessionIssuer: { type: 'Role', principalId: `AROA${idText(role, 17)}`, arn: `arn:aws:iam::${account}:role/${role}`, accountId: account, userName: role },
      attributes: { mfaAuthenticated: 'false' },
    },
  }
}

const secretArn = ({ company, service }: SecretRead): string =>
  `arn:aws:secretsmanager:${service.region}:${company.account_id}:secret:prod/${service.team}/${service.id}/openai-key-${token(service.id).slice(0, 6)}`
const idText = (text: string, length: number): string => hex(text, length).toUpperCase()
