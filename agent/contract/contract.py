"""What NEAR calls: arguments in, storage, result or refusal out. The only file that imports `near`.

Each exported function is one method of docs/contract.md; the rules are in logic.py.
"""

import json

import near

from contract import logic
from contract.codec import ContractError
from contract.session import Chain


class NearStore:
    def get(self, key):
        value = near.storage_read(key)
        return None if value is None else value.decode()

    def set(self, key, value):
        near.storage_write(key, value)

    def remove(self, key):
        near.storage_remove(key)


def now():
    """The block's time in seconds."""
    return near.block_timestamp() // 1_000_000_000


def arguments():
    given = near.input()
    return json.loads(given) if given else {}


def call(method):
    chain = Chain(
        store=NearStore(),
        height=near.block_height(),
        now=now(),
        contract_id=near.current_account_id(),
        signer_id=near.signer_account_id(),
        predecessor_id=near.predecessor_account_id(),
        signer_key=near.signer_account_pk(),
        deposit=near.attached_deposit(),
        sha256=near.sha256,
        ed25519_verify=near.ed25519_verify,
    )
    try:
        near.value_return(json.dumps(logic.execute(chain, method, arguments())))
    except ContractError as refusal:
        near.panic_utf8(str(refusal))


def view(method):
    try:
        near.value_return(logic.view(NearStore(), near.block_height(), now(), method, arguments()))
    except ContractError as refusal:
        near.panic_utf8(str(refusal))


@near.export
def init():
    call("init")


@near.export
def submit_participant_info():
    call("submit_participant_info")


@near.export
def update_participant_url():
    call("update_participant_url")


@near.export
def submit_participant_recovery_info():
    call("submit_participant_recovery_info")


@near.export
def register_backup_service():
    call("register_backup_service")


@near.export
def confirm_key_share_delivery():
    call("confirm_key_share_delivery")


@near.export
def conclude_recovery():
    call("conclude_recovery")


@near.export
def cancel_recovery():
    call("cancel_recovery")


@near.export
def expire_recovery():
    call("expire_recovery")


@near.export
def waive_recovery_cooldown():
    call("waive_recovery_cooldown")


@near.export
def submit_ephemeral_key():
    call("submit_ephemeral_key")


@near.export
def vote_add_domains():
    call("vote_add_domains")


@near.export
def start_keygen_instance():
    call("start_keygen_instance")


@near.export
def vote_pk():
    call("vote_pk")


@near.export
def vote_cancel_keygen():
    call("vote_cancel_keygen")


@near.export
def vote_new_parameters():
    call("vote_new_parameters")


@near.export
def start_reshare_instance():
    call("start_reshare_instance")


@near.export
def vote_reshared():
    call("vote_reshared")


@near.export
def vote_cancel_resharing():
    call("vote_cancel_resharing")


@near.export
def vote_node_code_hash():
    call("vote_node_code_hash")


@near.export
def vote_backup_service_code_hash():
    call("vote_backup_service_code_hash")


@near.export
def vote_measurements():
    call("vote_measurements")


@near.export
def sign():
    call("sign")


@near.export
def respond():
    call("respond")


@near.export
def state():
    view("state")


@near.export
def version():
    view("version")


@near.export
def config():
    view("config")


@near.export
def participant_info():
    view("participant_info")


@near.export
def backup_services():
    view("backup_services")


@near.export
def proposed_parameters():
    view("proposed_parameters")


@near.export
def ephemeral_keys():
    view("ephemeral_keys")


@near.export
def allowed_node_code_hashes():
    view("allowed_node_code_hashes")


@near.export
def allowed_backup_service_code_hashes():
    view("allowed_backup_service_code_hashes")


@near.export
def allowed_measurements():
    view("allowed_measurements")


@near.export
def code_hash_votes():
    view("code_hash_votes")


@near.export
def signature_request():
    view("signature_request")


@near.export
def open_signature_requests():
    view("open_signature_requests")
