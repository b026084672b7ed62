// Plays near-api-js against a dev chain. The command is the only argument; what it needs comes as JSON on stdin,
// so that no key stands on a command line. The answer is one JSON object on stdout.

import {
  Account,
  actions,
  baseDecode,
  createTransaction,
  getTransactionLastResult,
  JsonRpcProvider,
  KeyPairSigner,
} from "near-api-js";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const input = JSON.parse(Buffer.concat(chunks).toString());

const provider = new JsonRpcProvider({ url: input.url }, { retries: 1, wait: 0, backoff: 1 });
const signerOf = (secret) => KeyPairSigner.fromSecretKey(secret);
const accountOf = (id, secret) => new Account(id, provider, signerOf(secret));

// What a caller sees of an error: its classes from the most special to the most general, its words, and the
// HTTP status when that is all near-api-js keeps.
function describe(error) {
  const classes = [];
  for (let each = error.constructor; each && each !== Object && each.name; each = Object.getPrototypeOf(each)) {
    classes.push(each.name);
  }
  return { classes, message: error.message, cause: typeof error.cause === "number" ? error.cause : null };
}

async function failureOf(attempt) {
  try {
    await attempt();
  } catch (error) {
    return describe(error);
  }
  return null;
}

async function sign({ signer, secret, receiver, nonce, blockHash, action }) {
  const key = signerOf(secret);
  const transaction = createTransaction(
    signer, await key.getPublicKey(), receiver, BigInt(nonce), [action], baseDecode(blockHash),
  );
  return (await key.signTransaction(transaction)).signedTransaction;
}

// An account, a contract on it, a restricted key that calls the contract, and what the contract then shows.
async function session() {
  const { parent, contract, participant, call, code, balance } = input;
  const creator = accountOf(parent.id, parent.secret);
  await creator.createAccount({
    newAccountId: contract.id, publicKey: contract.publicKey, nearToTransfer: BigInt(balance),
  });
  const owner = accountOf(contract.id, contract.secret);
  await owner.deployContract(Buffer.from(code, "base64"));
  await owner.callFunction({ contractId: contract.id, methodName: "init", args: input.init, gas: BigInt(input.gas) });
  await accountOf(participant.id, participant.secret).addFunctionCallAccessKey({
    publicKey: participant.restrictedPublicKey,
    contractId: contract.id,
    methodNames: [call.method],
    allowance: BigInt(input.allowance),
  });
  const restricted = accountOf(participant.id, participant.restrictedSecret);
  const outcome = await restricted.callFunctionRaw({
    contractId: contract.id, methodName: call.method, args: call.args, gas: BigInt(input.gas), waitUntil: "FINAL",
  });
  const view = (method, args) => provider.callFunction({ contractId: contract.id, method, args });
  const state = await owner.getState();
  const status = await provider.viewTransactionStatusWithReceipts({
    txHash: outcome.transaction.hash, accountId: participant.id,
  });
  return {
    keys: (await restricted.getAccessKeyList()).keys,
    returned: getTransactionLastResult(outcome),
    outcome,
    receipts: status.receipts.length,
    state: await view("state", {}),
    participantInfo: await view("participant_info", { account_id: participant.id }),
    codeHash: (await owner.getContractCode()).hash,
    storageUsed: state.balance.usedOnStorage.toString(),
    storageUsage: state.storageUsage,
    again: await failureOf(() =>
      owner.callFunction({ contractId: contract.id, methodName: "init", args: input.init, gas: BigInt(input.gas) })),
    otherMethod: await failureOf(() =>
      restricted.callFunction({ contractId: contract.id, methodName: "init", args: {} })),
  };
}

// Every fault, as near-api-js reports it.
async function faults() {
  const { alice, poor, restricted, spent, counter, nobody } = input;
  const head = (await provider.viewBlock({ finality: "final" })).header.hash;
  const call = (method, deposit = 0) => actions.functionCall(method, {}, 30_000_000_000_000n, BigInt(deposit));
  const send = async (fields) => provider.sendTransaction(await sign({
    signer: alice.id, secret: alice.secret, receiver: counter, nonce: alice.nonce, blockHash: head,
    action: call("increment"), ...fields,
  }));
  const asKey = (secret, method, deposit = 0n) => accountOf(alice.id, secret).callFunction({
    contractId: counter, methodName: method, args: {}, deposit,
  });
  const view = (method, blockQuery) => provider.callFunction({ contractId: counter, method, args: {}, blockQuery });
  const attempts = {
    "unknown account": () => provider.viewAccount({ accountId: nobody }),
    "unknown access key": () => accountOf(alice.id, input.strangerSecret).getAccessKey(input.strangerPublicKey),
    "unknown method": () => provider.sendJsonRpc("no_such_method", []),
    "unknown block": () => view("get", { blockId: 387420489 }),
    "garbage-collected block": () => view("get", { blockId: 0 }),
    "parse error": () => provider.sendJsonRpc("send_tx", { signed_tx_base64: "AAAA" }),
    "panic of a view": () => view("fail"),
    "method a contract has not": () => view("missing"),
    "contract an account has not": () => provider.callFunction({ contractId: alice.id, method: "get", args: {} }),
    "unknown transaction": () => provider.viewTransactionStatus({ txHash: input.noTransaction, accountId: alice.id }),
    "nonce too low": () => send({ nonce: 0 }),
    "nonce too high": () => send({ nonce: "9000000000000000000" }),
    "expired transaction": () => send({ blockHash: input.genesisHash }),
    "wrong key": () => send({ secret: input.strangerSecret }),
    "unknown signer": () => send({ signer: nobody }),
    "not enough balance": () => send({
      signer: poor.id, secret: poor.secret, action: actions.transfer(10n ** 24n),
    }),
    "not enough allowance": () => asKey(spent, "increment"),
    "method name mismatch": () => asKey(restricted, "get"),
    "receiver mismatch": () => accountOf(alice.id, restricted).callFunction({
      contractId: alice.id, methodName: "increment", args: {},
    }),
    "deposit with a function-call key": () => asKey(restricted, "increment", 1n),
    "more than a function-call key may": () => send({ secret: restricted, action: actions.transfer(1n) }),
    "contract panic": () => asKey(alice.secret, "fail"),
  };
  const seen = {};
  for (const [name, attempt] of Object.entries(attempts)) seen[name] = await failureOf(attempt);
  return seen;
}

// Every question near-api-js can ask a node, after one call.
async function reads() {
  const { alice, counter } = input;
  const outcome = await accountOf(alice.id, alice.secret).callFunctionRaw({
    contractId: counter, methodName: "increment", args: {}, waitUntil: "FINAL",
  });
  const block = await provider.viewBlock({ blockId: outcome.transaction_outcome.block_hash });
  const at = { blockId: block.header.hash };
  const executed = { blockId: outcome.receipts_outcome[0].block_hash };
  const key = (await signerOf(alice.secret).getPublicKey()).toString();
  return {
    network: await provider.getNetworkId(),
    gasPrice: (await provider.viewGasPrice(block.header.height)).gas_price,
    validators: (await provider.viewValidators()).current_validators.length,
    seatPrices: [await provider.getCurrentEpochSeatPrice(), await provider.getNextEpochSeatPrice()],
    chunkTransactions: (await provider.viewChunk(block.chunks[0].chunk_hash)).transactions.map((each) => each.hash),
    transaction: outcome.transaction.hash,
    receipt: (await provider.viewTransactionReceipt(outcome.receipts_outcome[0].id)).predecessor_id,
    touched: (await provider.blockChanges(executed)).changes,
    accountChanges: (await provider.accountChanges([alice.id], at)).changes.length,
    keyChanges: (await provider.accessKeyChanges([alice.id], at)).changes,
    oneKeyChanges: (await provider.singleAccessKeyChanges([{ account_id: alice.id, public_key: key }], at)).changes,
    dataChanges: (await provider.contractStateChanges([counter], executed)).changes.map((each) => each.type),
    codeChanges: (await provider.contractCodeChanges([counter], { blockId: 0 })).changes.map((each) => each.type),
    contractState: (await provider.viewContractState({ contractId: counter })).values.length,
    lightClient: (await provider.nextLightClientBlock({ last_block_hash: block.header.prev_hash })).inner_lite.height,
    height: block.header.height,
    proof: await failureOf(() => provider.lightClientProof({ type: "transaction" })),
  };
}

// The same signed bytes twice, and what a third party finds under their hash.
async function twice() {
  const { alice, counter } = input;
  const { header } = await provider.viewBlock({ finality: "final" });
  const signed = await sign({
    signer: alice.id, secret: alice.secret, receiver: counter, nonce: alice.nonce, blockHash: header.hash,
    action: actions.functionCall("increment", {}, 30_000_000_000_000n, 0n),
  });
  const first = await provider.sendTransactionUntil(signed, "FINAL");
  const second = await provider.sendTransactionUntil(signed, "FINAL");
  const found = await provider.viewTransactionStatus({
    txHash: first.transaction.hash, accountId: alice.id, waitUntil: "FINAL",
  });
  return { first, second, found };
}

// A transaction that no block takes up.
async function timeout() {
  const { alice, counter } = input;
  const { header } = await provider.viewBlock({ finality: "final" });
  const signed = await sign({
    signer: alice.id, secret: alice.secret, receiver: counter, nonce: alice.nonce, blockHash: header.hash,
    action: actions.functionCall("increment", {}, 30_000_000_000_000n, 0n),
  });
  return { "time-out": await failureOf(() => provider.sendTransactionUntil(signed, "FINAL")) };
}

const commands = { session, faults, reads, twice, timeout };
const answer = await commands[process.argv[2]]();
process.stdout.write(JSON.stringify(answer, (_, value) => (typeof value === "bigint" ? value.toString() : value)));
