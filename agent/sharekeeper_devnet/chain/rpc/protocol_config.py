"""The protocol's configuration as neard shows it: what the dev chain charges and allows, and nearcore's numbers beside.

Fees, prices and limits come from where the dev chain keeps them. What it has no part for (staking, several shards,
host functions it does not serve) carries nearcore's number of the same protocol version, so that no field is absent.
"""

from sharekeeper_devnet.chain import admission, fees
from sharekeeper_devnet.chain.genesis import EPOCH_LENGTH, GAS_LIMIT, PROTOCOL_VERSION, Genesis, time_text
from sharekeeper_devnet.chain.primitives import REGISTRAR_ACCOUNT
from sharekeeper_devnet.chain.rpc.views import View
from sharekeeper_devnet.runtime import gas, host, promise_functions, promises, vm

MAX_TOP_LEVEL_LENGTH = 65
NOT_SERVED = gas.MAX_GAS
"""Cost of a host function that no version in force has: all the gas a call can have."""


def protocol_config_view(genesis: Genesis) -> View:
    """The configuration in force, which is the same at every block."""
    return {
        "protocol_version": PROTOCOL_VERSION,
        "genesis_time": time_text(genesis.genesis_time_ns),
        "chain_id": genesis.chain_id,
        "genesis_height": genesis.genesis_height,
        "num_block_producer_seats": 1,
        "shard_layout": {"V0": {"num_shards": 1, "version": 0}},
        "dynamic_resharding": False,
        "epoch_length": EPOCH_LENGTH,
        "gas_limit": GAS_LIMIT,
        "min_gas_price": str(fees.GAS_PRICE),
        "max_gas_price": str(fees.GAS_PRICE),
        "transaction_validity_period": genesis.transaction_validity_period,
        "protocol_treasury_account": "near",
        **_STAKING,
        "runtime_config": _runtime_config(genesis),
    }


_STAKING: View = {
    "block_producer_kickout_threshold": 80,
    "chunk_producer_kickout_threshold": 80,
    "chunk_validator_only_kickout_threshold": 70,
    "target_validator_mandates_per_shard": 68,
    "online_min_threshold": [9, 10],
    "online_max_threshold": [99, 100],
    "gas_price_adjustment_rate": [0, 1],
    "max_inflation_rate": [0, 1],
    "protocol_reward_rate": [0, 1],
    "num_blocks_per_year": 31_536_000,
    "fishermen_threshold": str(10**33),
    "minimum_stake_divisor": 10,
    "max_kickout_stake_perc": 30,
    "minimum_stake_ratio": [1, 62_500],
    "minimum_validators_per_shard": 1,
    "protocol_upgrade_stake_threshold": [4, 5],
    "shuffle_shard_assignment_for_chunk_producers": False,
}
"""One validator without a stake makes all blocks: no rewards, no inflation, nobody is kicked out."""


def _runtime_config(genesis: Genesis) -> View:
    return {
        "storage_amount_per_byte": str(fees.STORAGE_PRICE_PER_BYTE),
        "transaction_costs": {
            "action_receipt_creation_config": _fee(fees.RECEIPT),
            "data_receipt_creation_config": {
                "base_cost": _fee(fees.DATA_RECEIPT),
                "cost_per_byte": _fee(fees.DATA_RECEIPT_BYTE),
            },
            "action_creation_config": _action_fees(),
            "storage_usage_config": {
                "num_bytes_account": fees.ACCOUNT_BYTES,
                "num_extra_bytes_record": fees.RECORD_BYTES,
            },
            "burnt_gas_reward": [0, 1],
            "pessimistic_gas_price_inflation_ratio": [1, 1],
            "ml_dsa_65_verification_cost": NOT_SERVED,
        },
        "wasm_config": _wasm_config(genesis),
        "account_creation_config": {
            "min_allowed_top_level_account_length": MAX_TOP_LEVEL_LENGTH,
            "registrar_account_id": REGISTRAR_ACCOUNT,
        },
        "congestion_control_config": dict(_CONGESTION),
        "witness_config": dict(_WITNESS),
        "min_gas_purchase_price": str(fees.GAS_PRICE),
        "account_creation_charge": "0",
    }


def _fee(fee: fees.Fee) -> View:
    return _cost(fee.send_sir, fee.send_not_sir, fee.execution)


def _cost(send_sir: int, send_not_sir: int, execution: int) -> View:
    return {"send_sir": send_sir, "send_not_sir": send_not_sir, "execution": execution}


def _action_fees() -> View:
    return {
        "create_account_cost": _fee(fees.CREATE_ACCOUNT),
        "deploy_contract_cost": _fee(fees.DEPLOY_BASE),
        "deploy_contract_cost_per_byte": _fee(fees.DEPLOY_BYTE),
        "function_call_cost": _fee(fees.CALL_BASE),
        "function_call_cost_per_byte": _fee(fees.CALL_BYTE),
        "transfer_cost": _fee(fees.TRANSFER),
        "stake_cost": _cost(141_715_687_500, 141_715_687_500, 102_217_625_000),
        "add_key_cost": {
            "full_access_cost": _fee(fees.FULL_KEY),
            "function_call_cost": _fee(fees.CALL_KEY_BASE),
            "function_call_cost_per_byte": _fee(fees.CALL_KEY_BYTE),
        },
        "delete_key_cost": _fee(fees.DELETE_KEY),
        "delete_account_cost": _fee(fees.DELETE_ACCOUNT),
        "delegate_cost": _cost(200_000_000_000, 200_000_000_000, 200_000_000_000),
    }


def _wasm_config(genesis: Genesis) -> View:
    return {
        "ext_costs": dict(EXT_COSTS),
        "grow_mem_cost": 1,
        "regular_op_cost": gas.WASM_OP,
        "linear_op_base_cost": 0,
        "linear_op_unit_cost": 0,
        "vm_kind": "Wasmtime",
        "discard_custom_sections": True,
        "storage_get_mode": "FlatStorage",
        "fix_contract_loading_cost": False,
        "implicit_account_creation": True,
        "eth_implicit_accounts": False,
        "global_contract_host_fns": False,
        "reftypes_bulk_memory": True,
        "gas_key_host_fns": False,
        "one_yocto_on_promise": False,
        "p256_verify_host_fn": False,
        "sha3_host_fns": False,
        "ml_dsa_verify_host_fn": False,
        "chain_id_host_fn": False,
        "yield_with_id_host_fns": False,
        "universal_accounts": False,
        "bls12381_not_in_group_fix": False,
        "limit_config": {**_LIMITS, "yield_timeout_length_in_blocks": genesis.yield_timeout_blocks},
    }


EXT_COSTS: dict[str, int] = {
    "base": gas.HOST_CALL,
    "contract_loading_base": gas.LOADING_BASE,
    "contract_loading_bytes": gas.LOADING_BYTE,
    "contract_compile_base": 0,
    "contract_compile_bytes": 0,
    "read_memory_base": gas.READ_MEMORY_BASE,
    "read_memory_byte": gas.READ_MEMORY_BYTE,
    "write_memory_base": gas.WRITE_MEMORY_BASE,
    "write_memory_byte": gas.WRITE_MEMORY_BYTE,
    "read_register_base": gas.READ_REGISTER_BASE,
    "read_register_byte": gas.READ_REGISTER_BYTE,
    "write_register_base": gas.WRITE_REGISTER_BASE,
    "write_register_byte": gas.WRITE_REGISTER_BYTE,
    "utf8_decoding_base": gas.UTF8_BASE,
    "utf8_decoding_byte": gas.UTF8_BYTE,
    "utf16_decoding_base": gas.UTF16_BASE,
    "utf16_decoding_byte": gas.UTF16_BYTE,
    "log_base": gas.LOG_BASE,
    "log_byte": gas.LOG_BYTE,
    "sha256_base": gas.SHA256_BASE,
    "sha256_byte": gas.SHA256_BYTE,
    "keccak256_base": 5_879_491_275,
    "keccak256_byte": 21_471_105,
    "keccak512_base": 5_811_388_236,
    "keccak512_byte": 36_649_701,
    "sha3_256_base": NOT_SERVED,
    "sha3_256_byte": NOT_SERVED,
    "sha3_384_base": NOT_SERVED,
    "sha3_384_byte": NOT_SERVED,
    "sha3_512_base": NOT_SERVED,
    "sha3_512_byte": NOT_SERVED,
    "ripemd160_base": 853_675_086,
    "ripemd160_block": 680_107_584,
    "ed25519_verify_base": gas.ED25519_BASE,
    "ed25519_verify_byte": gas.ED25519_BYTE,
    "ecrecover_base": 278_821_988_457,
    "p256_verify_base": NOT_SERVED,
    "p256_verify_byte": NOT_SERVED,
    "ml_dsa_verify_base": NOT_SERVED,
    "ml_dsa_verify_byte": NOT_SERVED,
    "storage_write_base": gas.STORAGE_WRITE_BASE,
    "storage_write_key_byte": gas.STORAGE_WRITE_KEY_BYTE,
    "storage_write_value_byte": gas.STORAGE_WRITE_VALUE_BYTE,
    "storage_write_evicted_byte": gas.STORAGE_WRITE_EVICTED_BYTE,
    "storage_read_base": gas.STORAGE_READ_BASE,
    "storage_read_key_byte": gas.STORAGE_READ_KEY_BYTE,
    "storage_read_value_byte": gas.STORAGE_READ_VALUE_BYTE,
    "storage_large_read_overhead_base": 0,
    "storage_large_read_overhead_byte": 0,
    "storage_remove_base": gas.STORAGE_REMOVE_BASE,
    "storage_remove_key_byte": gas.STORAGE_REMOVE_KEY_BYTE,
    "storage_remove_ret_value_byte": gas.STORAGE_REMOVE_VALUE_BYTE,
    "storage_has_key_base": gas.STORAGE_HAS_KEY_BASE,
    "storage_has_key_byte": gas.STORAGE_HAS_KEY_BYTE,
    "storage_iter_create_prefix_base": 0,
    "storage_iter_create_prefix_byte": 0,
    "storage_iter_create_range_base": 0,
    "storage_iter_create_from_byte": 0,
    "storage_iter_create_to_byte": 0,
    "storage_iter_next_base": 0,
    "storage_iter_next_key_byte": 0,
    "storage_iter_next_value_byte": 0,
    "touching_trie_node": 0,
    "read_cached_trie_node": 0,
    "promise_and_base": gas.PROMISE_AND_BASE,
    "promise_and_per_promise": gas.PROMISE_AND_EACH,
    "promise_return": gas.PROMISE_RETURN,
    "yield_create_base": gas.YIELD_CREATE_BASE,
    "yield_create_byte": gas.YIELD_CREATE_BYTE,
    "yield_create_with_id_base": NOT_SERVED,
    "yield_resume_base": gas.YIELD_RESUME_BASE,
    "yield_resume_byte": gas.YIELD_RESUME_BYTE,
    "validator_stake_base": 911_834_726_400,
    "validator_total_stake_base": 911_834_726_400,
    "universal_state_init_to_account_id_base": NOT_SERVED,
    "universal_state_init_to_account_id_byte": NOT_SERVED,
    "alt_bn128_g1_multiexp_base": 713_000_000_000,
    "alt_bn128_g1_multiexp_element": 320_000_000_000,
    "alt_bn128_g1_sum_base": 3_000_000_000,
    "alt_bn128_g1_sum_element": 5_000_000_000,
    "alt_bn128_pairing_check_base": 9_686_000_000_000,
    "alt_bn128_pairing_check_element": 5_102_000_000_000,
    "bls12381_p1_sum_base": 16_500_000_000,
    "bls12381_p1_sum_element": 6_000_000_000,
    "bls12381_p2_sum_base": 18_600_000_000,
    "bls12381_p2_sum_element": 15_000_000_000,
    "bls12381_g1_multiexp_base": 16_500_000_000,
    "bls12381_g1_multiexp_element": 930_000_000_000,
    "bls12381_g2_multiexp_base": 18_600_000_000,
    "bls12381_g2_multiexp_element": 1_995_000_000_000,
    "bls12381_map_fp_to_g1_base": 1_500_000_000,
    "bls12381_map_fp_to_g1_element": 252_000_000_000,
    "bls12381_map_fp2_to_g2_base": 1_500_000_000,
    "bls12381_map_fp2_to_g2_element": 900_000_000_000,
    "bls12381_pairing_base": 2_130_000_000_000,
    "bls12381_pairing_element": 2_130_000_000_000,
    "bls12381_p1_decompress_base": 15_000_000_000,
    "bls12381_p1_decompress_element": 81_000_000_000,
    "bls12381_p2_decompress_base": 15_000_000_000,
    "bls12381_p2_decompress_element": 165_000_000_000,
}
"""Gas of each host function and of what it reads and writes."""

_LIMITS: View = {
    "max_gas_burnt": gas.MAX_GAS,
    "max_gas_burnt_external": gas.MAX_GAS,
    "max_total_prepaid_gas": gas.MAX_GAS,
    "max_stack_height": 262_144,
    "initial_memory_pages": 1_024,
    "max_memory_pages": vm.MAX_MEMORY_PAGES,
    "registers_memory_limit": 2**30,
    "max_register_size": host.MAX_REGISTER_BYTES,
    "max_number_registers": host.MAX_REGISTERS,
    "max_number_logs": host.MAX_LOGS,
    "max_total_log_length": host.MAX_LOG_BYTES,
    "max_actions_per_receipt": admission.MAX_ACTIONS_PER_RECEIPT,
    "max_deploy_actions_per_receipt": admission.MAX_ACTIONS_PER_RECEIPT,
    "max_number_bytes_method_names": admission.MAX_METHOD_NAMES_BYTES,
    "max_length_method_name": admission.MAX_METHOD_NAME_BYTES,
    "max_arguments_length": admission.MAX_ARGUMENT_BYTES,
    "max_length_returned_data": host.MAX_RETURN_BYTES,
    "max_contract_size": vm.MAX_CODE_BYTES,
    "max_transaction_size": admission.MAX_TRANSACTION_BYTES,
    "max_receipt_size": 4 * 2**20,
    "max_receipt_total_input_size": 4 * 2**20,
    "max_length_storage_key": host.MAX_KEY_BYTES,
    "max_length_storage_value": host.MAX_VALUE_BYTES,
    "max_promises_per_function_call_action": promises.MAX_PROMISES,
    "max_number_input_data_dependencies": 128,
    "max_functions_number_per_contract": 10_000,
    "max_globals_per_contract": None,
    "max_locals_per_contract": 1_000_000,
    "max_params_per_contract": 50_000,
    "max_params_per_function": 64,
    "max_operand_stack_bytes_per_function": 8_192,
    "max_tables_per_contract": 1,
    "max_elements_per_contract_table": vm.MAX_TABLE_ELEMENTS,
    "max_function_body_size": 196_608,
    "max_instrumented_code_size": 16 * 2**20,
    "max_blocks_per_function": 5_000,
    "max_blocks_per_contract": 50_000,
    "max_types_per_contract": 1_024,
    "min_contract_size_per_local": None,
    "account_id_validity_rules_version": 2,
    "max_yield_payload_size": promise_functions.MAX_YIELD_PAYLOAD_BYTES,
    "max_state_init_entries": 0,
    "max_universal_state_init_keys": 0,
    "per_receipt_storage_proof_size_limit": 4_000_000,
}

_CONGESTION: View = {
    "max_congestion_incoming_gas": 400_000_000_000_000_000,
    "max_congestion_outgoing_gas": 10_000_000_000_000_000,
    "max_congestion_memory_consumption": 1_000_000_000,
    "max_congestion_missed_chunks": 125,
    "max_outgoing_gas": 300_000_000_000_000_000,
    "min_outgoing_gas": GAS_LIMIT,
    "allowed_shard_outgoing_gas": GAS_LIMIT,
    "max_tx_gas": GAS_LIMIT // 2,
    "min_tx_gas": 20_000_000_000_000,
    "reject_tx_congestion_threshold": 0.8,
}

_WITNESS: View = {
    "main_storage_proof_size_soft_limit": 4_000_000,
    "combined_transactions_size_limit": 4 * 2**20,
    "new_transactions_validation_state_size_soft_limit": 572_864,
}
