// The management SDK of Kinde, as it comes from npm, against a Latchkey over TLS. Nothing of the SDK is changed or set but the
// address and the client. Node trusts the authority of the test by NODE_EXTRA_CA_CERTS.
//
//   KINDE_DOMAIN, KINDE_MANAGEMENT_CLIENT_ID, KINDE_MANAGEMENT_CLIENT_SECRET   as the SDK documents them
//   SDK_FOLDER   the folder whose node_modules has the SDK
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

// Node would print the line of the SDK as well, and the SDK is one line.
process.on("uncaughtException", (error) => {
  console.error(error.stack, error.body ?? "");
  process.exit(1);
});

const load = createRequire(join(process.env.SDK_FOLDER, "story.mjs"));
const { ApiKeys, Apis, init } = load("@kinde/management-api-js");
init();

// Apis
const { apis } = await Apis.getApis({ expand: "scopes" });
const api = apis.find((api) => api.id === "api_ai");
assert.ok(api, "the API is listed");
const { scopes } = await Apis.getApiScopes({ apiId: api.id });
const scope = scopes.find((scope) => scope.key === "read:ai_chats");
assert.ok(scope?.id, "its scopes have ids");
assert.equal((await Apis.getApi({ apiId: api.id })).api.audience, "https://api.example.com");

// Create: one by the id of a scope for an organization, one by its name for a user
const created = await ApiKeys.createApiKey({
  requestBody: {
    name: "Acme, production",
    type: "organization",
    api_id: api.id,
    scope_ids: [scope.id, "write:ai_chat"],
    org_code: "org_acme",
  },
});
assert.equal(created.code, "API_KEY_CREATED");
const { id, key } = created.api_key;
const users = await ApiKeys.createApiKey({
  requestBody: { name: "Ada", type: "user", api_id: api.id, scope_ids: ["read:ai_chats"], user_id: "kp_ada" },
});

// List, page by page
const ids = [];
for (let startingAfter, more = true; more; ) {
  const page = await ApiKeys.getApiKeys({ pageSize: 1, startingAfter });
  assert.equal(page.api_keys.length, 1);
  ids.push(page.api_keys[0].id);
  startingAfter = page.api_keys[0].id;
  more = page.has_more;
}
assert.deepEqual(ids.sort(), [id, users.api_key.id].sort());
const ofAcme = await ApiKeys.getApiKeys({ orgCode: "org_acme", status: "active", keyType: "organization" });
assert.deepEqual(ofAcme.api_keys.map((key) => key.id), [id]);

// Get
const { api_key: shown } = await ApiKeys.getApiKey({ keyId: id });
assert.equal(shown.name, "Acme, production");
assert.equal(shown.status, "active");
assert.equal(shown.organization_id, "org_acme");
assert.deepEqual([...shown.scopes].sort(), ["read:ai_chats", "write:ai_chat"]);
assert.equal(JSON.stringify(shown).includes(key), false, "a secret is shown once");

// Verify
const verify = (key) => ApiKeys.verifyApiKey({ requestBody: { api_key: key } });
const verified = await verify(key);
assert.equal(verified.is_valid, true);
assert.equal(verified.key_id, id);
assert.equal(verified.status, "active");
assert.equal(verified.org_code, "org_acme");
assert.equal(verified.user_id, null);
assert.deepEqual([...verified.scopes].sort(), ["read:ai_chats", "write:ai_chat"]);
assert.equal((await verify(users.api_key.key)).user_id, "kp_ada");
assert.equal((await verify("lk_unknown")).is_valid, false);

// Rotate: the same key with another secret
const rotated = await ApiKeys.rotateApiKey({ keyId: id });
assert.equal(rotated.api_key.id, id);
assert.notEqual(rotated.api_key.key, key);
assert.equal((await verify(key)).is_valid, false);
assert.equal((await verify(rotated.api_key.key)).is_valid, true);

// Revoke
await ApiKeys.deleteApiKey({ keyId: id });
const revoked = await verify(rotated.api_key.key);
assert.equal(revoked.is_valid, false);
assert.equal(revoked.status, "revoked");

// Errors come as the SDK's own, with the status
await assert.rejects(ApiKeys.getApiKey({ keyId: "api_key_unknown" }), { name: "ApiError", status: 404 });
const bad = { name: "x", type: "user", api_id: api.id, scope_ids: ["write:nothing"], user_id: "kp_ada" };
await assert.rejects(ApiKeys.createApiKey({ requestBody: bad }), { name: "ApiError", status: 400 });

console.log(JSON.stringify({ apis: apis.length, created: ids.length, revoked: id }));
