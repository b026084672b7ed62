"""The mock of Intel: a root, the authorities under it, platforms' keys, and the collateral that it publishes.

Whoever gives `root_ca` to a verifier trusts the seed of this mock and no hardware at all.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives import serialization

from sharekeeper.domain.attestation import Measurements
from sharekeeper_devnet.tee import tcb as platform
from sharekeeper_devnet.tee.certificates import Identity, derived_key, pem
from sharekeeper_devnet.tee.quotes import REGISTER_BYTES, TdReport, encode_quote
from sharekeeper_devnet.tee.sgx_extension import sgx_extension

DEFAULT_HOST: Final = "host"
COLLATERAL_SECONDS: Final = 30 * 86400
_SEED_BYTES: Final = 32
_PLATFORM_CA: Final = "Mock SGX PCK Platform CA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """What a PCCS publishes about the platform family; the JSON texts are signed by the TCB signer."""

    pck_crl: bytes
    root_ca_crl: bytes
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity: str
    qe_identity_signature: bytes
    pck_crl_issuer_chain: str
    signing_chain: str

    def text(self, pck_chain: str | None = None) -> str:
        """As dcap-qvl writes it; `pck_chain` is the PEM chain of the host that it was asked for."""
        fields = {
            "pck_crl_issuer_chain": self.pck_crl_issuer_chain,
            "root_ca_crl": self.root_ca_crl.hex(),
            "pck_crl": self.pck_crl.hex(),
            "tcb_info_issuer_chain": self.signing_chain,
            "tcb_info": self.tcb_info,
            "tcb_info_signature": self.tcb_info_signature.hex(),
            "qe_identity_issuer_chain": self.signing_chain,
            "qe_identity": self.qe_identity,
            "qe_identity_signature": self.qe_identity_signature.hex(),
        }
        return json.dumps(fields | ({} if pck_chain is None else {"pck_certificate_chain": pck_chain}))


@dataclass(frozen=True, slots=True, kw_only=True)
class MockIntel:
    """Root, platform authority and TCB signer; one PCK per named host. `now_s` is when it issues, unless told."""

    seed: bytes
    now_s: int
    root: Identity
    platform_ca: Identity
    signer: Identity

    @classmethod
    def create(cls, now_s: int, *, seed: bytes | None = None) -> Self:
        """A new Intel, or the one of that seed again."""
        known = secrets.token_bytes(_SEED_BYTES) if seed is None else seed
        root = Identity.root(known, "Mock SGX Root CA")
        signer = root.end(known, "Mock SGX TCB Signing", label="tcb signer", sgx_extension=None)
        return cls(seed=known, now_s=now_s, root=root, platform_ca=root.authority(known, _PLATFORM_CA), signer=signer)

    @property
    def root_ca(self) -> bytes:
        """The root certificate, DER: what `dcap_qvl.verify_with_root_ca` takes."""
        return self.root.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def root_ca_pem(self) -> str:
        """The root certificate, PEM."""
        return pem(self.root.certificate)

    def publish(
        self,
        *,
        issued_at_s: int | None = None,
        valid_seconds: int = COLLATERAL_SECONDS,
        advisories: tuple[str, ...] = (),
        revoked_hosts: tuple[str, ...] = (),
        platform_ca_revoked: bool = False,
    ) -> Collateral:
        """Collateral as of `issued_at_s`, valid for `valid_seconds`.

        Args:
            issued_at_s: Issue date of everything in it, unix seconds; None: `now_s`.
            valid_seconds: From issue to the next update of everything in it.
            advisories: Advisories on the level that is up to date.
            revoked_hosts: Hosts whose PCK certificate stands on the revocation list.
            platform_ca_revoked: The authority over all hosts stands on the root's revocation list.
        """
        issued = self.now_s if issued_at_s is None else issued_at_s
        tcb_info = platform.tcb_info(issued_at_s=issued, valid_seconds=valid_seconds, advisories=advisories)
        qe_identity = platform.qe_identity(issued_at_s=issued, valid_seconds=valid_seconds)
        revoked = [self.pck(host).certificate for host in revoked_hosts]
        revoked_authorities = [self.platform_ca.certificate] if platform_ca_revoked else []
        return Collateral(
            pck_crl=self.platform_ca.revocation_list(revoked, issued, valid_seconds),
            root_ca_crl=self.root.revocation_list(revoked_authorities, issued, valid_seconds),
            tcb_info=tcb_info,
            tcb_info_signature=self.signer.sign(tcb_info.encode()),
            qe_identity=qe_identity,
            qe_identity_signature=self.signer.sign(qe_identity.encode()),
            pck_crl_issuer_chain=pem(self.platform_ca.certificate, self.root.certificate),
            signing_chain=pem(self.signer.certificate, self.root.certificate),
        )

    def collateral(
        self,
        *,
        issued_at_s: int | None = None,
        valid_seconds: int = COLLATERAL_SECONDS,
        advisories: tuple[str, ...] = (),
        revoked_hosts: tuple[str, ...] = (),
        platform_ca_revoked: bool = False,
    ) -> str:
        """What `publish` gives for the same arguments, as dcap-qvl's JSON text."""
        published = self.publish(
            issued_at_s=issued_at_s,
            valid_seconds=valid_seconds,
            advisories=advisories,
            revoked_hosts=revoked_hosts,
            platform_ca_revoked=platform_ca_revoked,
        )
        return published.text()

    def pck(self, host: str = DEFAULT_HOST) -> Identity:
        """The provisioning certification key of that host."""
        extension = sgx_extension(
            ppid=self.secret(f"ppid {host}")[:16],
            cpu_svn=platform.CPU_SVN,
            pce_svn=platform.PCE_SVN,
            pce_id=platform.PCE_ID,
            fmspc=platform.FMSPC,
            instance_id=self.secret(f"instance {host}")[:16],
        )
        return self.platform_ca.end(self.seed, "Mock SGX PCK Certificate", label=f"pck {host}", sgx_extension=extension)

    def pck_chain(self, pck: Identity) -> str:
        """PEM: that PCK certificate, the platform authority, the root."""
        return pem(pck.certificate, self.platform_ca.certificate, self.root.certificate)

    def secret(self, label: str) -> bytes:
        """32 bytes that follow from the seed: what is burnt into the mock's processors."""
        return hashlib.sha256(self.seed + b"\0secret\0" + label.encode()).digest()

    def quote(
        self,
        report_data: bytes,
        measurements: Measurements,
        rtmr3: bytes,
        *,
        debug: bool = False,
        tcb: str = platform.UP_TO_DATE,
        host: str = DEFAULT_HOST,
        mr_config_id: bytes = bytes(REGISTER_BYTES),
    ) -> bytes:
        """A quote that host's quoting enclave signs.

        Args:
            report_data: 64 bytes.
            measurements: MRTD and RTMR0-2 (the key provider stands in the event log, not in the quote).
            rtmr3: 48 bytes.
            debug: The TD may be looked into from outside.
            tcb: The status that the collateral gives the platform, as in "OutOfDate".
            host: Which machine it is.
            mr_config_id: 48 bytes.
        """
        report = TdReport(
            tee_tcb_svn=platform.tee_tcb_svn(tcb),
            mrtd=bytes.fromhex(measurements.mrtd),
            rtmr0=bytes.fromhex(measurements.rtmr0),
            rtmr1=bytes.fromhex(measurements.rtmr1),
            rtmr2=bytes.fromhex(measurements.rtmr2),
            rtmr3=rtmr3,
            mr_config_id=mr_config_id,
            report_data=report_data,
            debug=debug,
        )
        pck = self.pck(host)
        attestation_key = derived_key(self.seed, f"attestation key {host}")
        return encode_quote(report, attestation_key=attestation_key, pck=pck, chain=self.pck_chain(pck))
