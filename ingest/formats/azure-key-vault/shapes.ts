/**
 * The three shapes in which one audit event reaches us, made one: the record itself (Event Hub, blob), a row of AzureDiagnostics
 * (flattened, with type suffixes, and with what does not fit into its columns in AdditionalFields), a row of AZKVAuditLogs.
 */
import { asLabel, asObject, type Json, objectAt, parseObject, pickLabel } from '../../shapes/json.ts'

/** Values as they stand in the log; only the places differ between the shapes. */
export interface Audit {
  operation: unknown
  time: unknown
  /** ARM id of the vault. */
  resource: string | null
  result_type: string | null
  signature: string | null
  status: unknown
  duration: unknown
  address: unknown
  correlation_id: string | null
  object_id: string | null
  request_uri: string | null
  client: string | null
  tls: string | null
  subnet: string | null
  trusted_service: string | null
  access_policy: unknown
  rbac: unknown
  address_authorized: unknown
  claims: Claims
}

export interface Claims {
  oid: string | null
  appid: string | null
  upn: string | null
  idtyp: string | null
  managed_identity: string | null
  amr: unknown
}

/** The portal's CSV names columns of times so. */
const EXPORTED_TIME = 'TimeGenerated [UTC]'
const VAULT = /\/providers\/microsoft\.keyvault\/(?:vaults|managedhsms)\//i

/** null: not of a Key Vault. */
export function auditOf(record: Json): Audit | null {
  if (Object.hasOwn(record, 'operationName')) return isVault(record['resourceId']) ? ofRecord(record) : null
  if (!Object.hasOwn(record, 'OperationName')) return null
  const isDiagnostics = record['Type'] === 'AzureDiagnostics' || Object.hasOwn(record, 'ResourceProvider') || Object.hasOwn(record, 'Category')
  if (isDiagnostics) return isVault(record['ResourceId']) || isVault(record['_ResourceId']) ? ofDiagnostics(record) : null
  return isVault(record['_ResourceId']) ? ofAuditLogs(record) : null
}

const isVault = (id: unknown): boolean => typeof id === 'string' && VAULT.test(id)

function ofRecord(record: Json): Audit {
  const properties = inside(record['properties'])
  return {
    operation: record['operationName'],
    time: record['time'],
    resource: asLabel(record['resourceId'], 1024),
    result_type: asLabel(record['resultType']),
    signature: asLabel(record['resultSignature']),
    status: properties['httpStatusCode'],
    duration: record['durationMs'],
    address: record['callerIpAddress'],
    correlation_id: asLabel(record['correlationId'], 128),
    object_id: asLabel(properties['id'], 1024),
    request_uri: asLabel(properties['requestUri'], 1024),
    client: asLabel(properties['clientInfo'], 512),
    tls: asLabel(properties['tlsVersion'], 32),
    subnet: asLabel(properties['subnetId'], 512),
    trusted_service: asLabel(properties['trustedService']),
    access_policy: properties['isAccessPolicyMatch'],
    rbac: properties['isRbacAuthorized'],
    address_authorized: properties['isAddressAuthorized'],
    claims: claimsOf(inside(record['identity'])),
  }
}

/** The same names with a type behind them: _s text, _d number, _b true or false, _g GUID. */
function ofDiagnostics(row: Json): Audit {
  const more = inside(row['AdditionalFields'])
  const column = (name: string, ...suffixes: string[]): unknown => {
    for (const scope of [row, more]) for (const suffix of suffixes) if (isThere(scope, name + suffix)) return scope[name + suffix]
    // In AdditionalFields a name may have lost its suffix.
    return isThere(more, name) ? more[name] : undefined
  }
  const claim = (...names: string[]): unknown => names.map((name) => column(`identity_claim_${name}`, '_s', '_g')).find((value) => value !== undefined)
  return {
    operation: row['OperationName'],
    time: row['TimeGenerated'] ?? row[EXPORTED_TIME],
    resource: asLabel(row['ResourceId'], 1024) ?? asLabel(row['_ResourceId'], 1024),
    result_type: asLabel(row['ResultType']),
    signature: asLabel(row['ResultSignature']) ?? asLabel(column('resultSignature', '_s')),
    status: column('httpStatusCode', '_d', '_s'),
    duration: row['DurationMs'],
    address: row['CallerIPAddress'] ?? column('callerIpAddress', '_s'),
    correlation_id: asLabel(row['CorrelationId'], 128),
    object_id: asLabel(column('id', '_s'), 1024),
    request_uri: asLabel(column('requestUri', '_s'), 1024),
    client: asLabel(column('clientInfo', '_s'), 512),
    tls: asLabel(column('tlsVersion', '_s'), 32),
    subnet: asLabel(column('subnetId', '_s'), 512),
    trusted_service: asLabel(column('trustedService', '_s')),
    access_policy: column('isAccessPolicyMatch', '_b', '_s'),
    rbac: column('isRbacAuthorized', '_b', '_s'),
    address_authorized: column('isAddressAuthorized', '_b', '_s'),
    claims: {
      oid: asLabel(claim('oid', 'http_schemas_microsoft_com_identity_claims_objectidentifier')),
      appid: asLabel(claim('appid')),
      upn: asLabel(claim('upn', 'http_schemas_xmlsoap_org_ws_2005_05_identity_claims_upn')),
      idtyp: asLabel(claim('idtyp'), 32),
      managed_identity: asLabel(claim('xms_mirid'), 512),
      amr: claim('amr', 'http_schemas_microsoft_com_claims_authnmethodsreferences'),
    },
  }
}

function ofAuditLogs(row: Json): Audit {
  return {
    operation: row['OperationName'],
    time: row['TimeGenerated'] ?? row[EXPORTED_TIME],
    resource: asLabel(row['_ResourceId'], 1024),
    result_type: asLabel(row['ResultType']),
    signature: asLabel(row['ResultSignature']),
    status: row['HttpStatusCode'],
    duration: row['DurationMs'],
    address: row['CallerIpAddress'],
    correlation_id: asLabel(row['CorrelationId'], 128),
    object_id: asLabel(row['Id'], 1024),
    request_uri: asLabel(row['RequestUri'], 1024),
    client: asLabel(row['ClientInfo'], 512),
    tls: asLabel(row['Tlsversion'] ?? row['TlsVersion'], 32),
    subnet: asLabel(row['SubnetId'], 512),
    trusted_service: asLabel(row['TrustedService']),
    access_policy: row['IsAccessPolicyMatch'],
    rbac: row['IsRbacAuthorized'],
    address_authorized: row['IsAddressAuthorized'],
    claims: claimsOf(inside(row['Identity'])),
  }
}

/** Short names on calls to the vault, the long ones (URIs) on calls to its management. */
function claimsOf(identity: Json): Claims {
  const claims = [objectAt(identity, 'claim') ?? objectAt(identity, 'claims') ?? identity]
  const [first = {}] = claims
  return {
    oid: pickLabel(claims, ['oid', 'http://schemas.microsoft.com/identity/claims/objectidentifier']),
    appid: pickLabel(claims, ['appid', 'azp']),
    upn: pickLabel(claims, ['upn', 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn']),
    idtyp: pickLabel(claims, ['idtyp'], 32),
    managed_identity: pickLabel(claims, ['xms_mirid'], 512),
    amr: first['amr'] ?? first['http://schemas.microsoft.com/claims/authnmethodsreferences'],
  }
}

/** An object, or the text of one: dynamic columns come as both. */
const inside = (value: unknown): Json => asObject(value) ?? (typeof value === 'string' ? parseObject(value, 65_536) : null) ?? {}

/** Empty columns are '' in an exported row. */
const isThere = (scope: Json, name: string): boolean => Object.hasOwn(scope, name) && scope[name] !== null && scope[name] !== ''
