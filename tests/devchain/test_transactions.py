"""Transactions from submission to finality."""

import base64

from tests.devchain.conftest import ALICE


async def test_a_call_changes_the_contract_and_its_answer_is_final(client):
    result = await client.call("increment")
    assert result["final_execution_status"] == "FINAL"
    assert result["status"] == {"SuccessValue": base64.b64encode((1).to_bytes(8, "little")).decode()}
    assert result["receipts_outcome"][0]["outcome"]["logs"] == ["counted"]
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")
    assert ALICE.public
