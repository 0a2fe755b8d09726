/** `sluice certs`: a certificate authority of one's own, certificates of servers and clients, and a look at what is in a file. */
import { type Command, Option } from 'commander';
import { DEV_CERTS_DIRECTORY } from '../../config/load.ts';

/** Adds the `certs` command to the program. */
export function registerCerts(program: Command): void {
  const certs = program.command('certs').description('make and look at certificates').helpCommand(false);
  const dir = () => new Option('--dir <folder>', 'folder of the authority').default(DEV_CERTS_DIRECTORY);
  // What only these commands need is loaded by them.
  certs
    .command('init')
    .description('make an authority (ca.pem, ca.key) and a server certificate (server.pem, server.key)')
    .addOption(dir())
    .option(
      '--host <names>',
      'names and addresses of the server, with commas; default: this machine, from itself',
    )
    .option('--days <number>', 'how long the server certificate holds', '365')
    .option(
      '--browser',
      'instead, a certificate for 13 days that pages trust by its hash (webtransport.pem, webtransport.key)',
    )
    .option('--force', 'replace files that are there')
    .action(async (flags) => {
      const { initAuthority, initBrowser } = await import('./certs-make.ts');
      await (flags.browser === true ? initBrowser : initAuthority)(flags, process, Date.now());
    });
  certs
    .command('issue')
    .description('make a key and a certificate, signed by the authority')
    .option('--client <name>', 'for a client; with tls.useCertAsUsername: cn the name is its user name')
    .option('--server <names>', 'for a server: host names and addresses, with commas')
    .addOption(dir())
    .option('--days <number>', 'how long it holds; at most as long as the authority', '365')
    .option('--force', 'replace files that are there')
    .action(async (flags) => (await import('./certs-make.ts')).issue(flags, process, Date.now()));
  certs
    .command('revoke')
    .description(
      'add certificates to the list of the authority (ca.crl, for tls.crl); without any, renew the list',
    )
    .argument('[files...]', 'the certificates')
    .addOption(dir())
    .option(
      '--days <number>',
      'how long the list holds; when it has ended, client certificates are refused',
      '365',
    )
    .action(async (files, flags) => {
      const { daysOf } = await import('./certs-make.ts');
      const { revoke } = await import('./certs-revoke.ts');
      await revoke(files, { dir: flags.dir, days: daysOf(flags.days) }, process, Date.now());
    });
  certs
    .command('show')
    .description('tell what is in a certificate file; exit code 1 when something is wrong with it')
    .argument('<file>', 'PEM or DER')
    .option('--ca <file>', 'authorities (PEM) that must have signed it')
    .action(async (file, flags) => {
      process.exitCode = (await import('./certs-show.ts')).show(file, flags, process, Date.now());
    });
}
