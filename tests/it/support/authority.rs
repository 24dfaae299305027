//! An authority that lives as long as a test, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its own certificate, which those who trust it need.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server at `localhost` and `127.0.0.1`, good until the end of `year`.
    pub(crate) fn server(&self, year: i32) -> Pair {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth, year)
    }

    /// A certificate of a client.
    pub(crate) fn client(&self) -> Pair {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth, 4000)
    }

    fn issue(&self, purpose: ExtendedKeyUsagePurpose, year: i32) -> Pair {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("good names");
        // With the name of its issuer Envoy would take it for signed by itself.
        params.distinguished_name.push(DnType::CommonName, "signed");
        params.extended_key_usages.push(purpose);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        Pair {
            certificate: params.signed_by(&key, &self.0).expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// Writes `<name>.crt` and `<name>.key` into a folder; where they are.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        [(&self.certificate, "crt"), (&self.key, "key")].map(|(pem, ending)| {
            let path = folder.join(format!("{name}.{ending}"));
            fs::write(&path, pem).expect("the folder can be written");
            path
        })
    }
}
