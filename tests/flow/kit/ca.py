"""A certification authority for one test run, made by the openssl command."""
import ssl
import subprocess
import time

CONFIG = """
[ca]
default_ca = x
[x]
database = {0}/index.txt
new_certs_dir = {0}
serial = {0}/serial
crlnumber = {0}/crlnumber
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def moment(days):
    """So many days from now, as openssl writes it."""
    return time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


class Authority:
    def __init__(self, directory, name="Test CA"):
        self.directory = directory / f"{name} files"
        self.directory.mkdir()
        self.key, self.cert = directory / f"{name}.key", directory / f"{name}.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "400",
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)
        (self.directory / "index.txt").touch()
        for counter in ("serial", "crlnumber"):
            (self.directory / counter).write_text("1000\n")
        self.config = self.directory / "ca.conf"
        self.config.write_text(CONFIG.format(str(self.directory)))
        self.count = 0

    def issue(self, names, days=2, begin=-1, key=("ec", "ec_paramgen_curve:P-256"), usage="serverAuth", cn="leaf",
              digest="sha256"):
        """(certificate, key) for such subjectAltNames as "DNS:x" and "IP:y"; None: without."""
        self.count += 1
        stem = self.directory / f"leaf-{self.count}"
        secret, request, cert, extensions = (stem.with_suffix(s) for s in (".key", ".csr", ".crt", ".ext"))
        san = f"subjectAltName={names}\n" if names else ""
        extensions.write_text(f"{san}extendedKeyUsage={usage}\n")
        openssl("req", "-newkey", key[0], "-pkeyopt", key[1], "-nodes", "-subj", f"/CN={cn}", "-keyout", secret,
                "-out", request)
        openssl("ca", "-batch", "-notext", "-config", self.config, "-cert", self.cert, "-keyfile", self.key, "-in",
                request, "-out", cert, "-startdate", moment(begin), "-enddate", moment(days), "-extfile", extensions,
                "-md", digest)
        return cert, secret

    def revoke(self, cert):
        openssl("ca", "-config", self.config, "-cert", self.cert, "-keyfile", self.key, "-revoke", cert)

    def revocations(self):
        """A list of what is revoked so far, as a file."""
        path = self.directory / "crl.pem"
        openssl("ca", "-config", self.config, "-cert", self.cert, "-keyfile", self.key, "-gencrl", "-crldays", "2",
                "-out", path)
        return path

    def server(self, names="IP:127.0.0.1,DNS:localhost", days=2, **more):
        """An SSL context for a server of these names."""
        return serving(self.issue(names, days, **more))


def serving(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")      # it is the proxy that must be strict
    context.load_cert_chain(*pair)
    return context


def self_signed(directory, names):
    """(certificate, key) of a server that vouches for itself."""
    cert, key = directory / "self.crt", directory / "self.key"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=self", "-addext", f"subjectAltName={names}", "-keyout", key, "-out", cert)
    return cert, key
