# LemonLDAP::NG as a portal for tokengate: its login, and its answers about requests at /forward-auth.
#
#     plackup -E deployment --host 127.0.0.1 --port 9092 lemonldap.psgi
#
# Debian: liblemonldap-ng-portal-perl, liblemonldap-ng-handler-perl and libplack-perl. For more than a few users start it with
# starman instead of plackup. In its manager: the address of the portal, the domain of its cookie, and for each application
# a virtual host with access rules and the exported headers that gateway.toml names, with HTTPS and port 443.
# See docs/POLICY.md, "Portals".

use strict;
use warnings;
use Plack::App::File;
use Plack::Builder;

$ENV{SOURCE_SERVER} = 'traefik';
my $lemonldap = do '/usr/share/lemonldap-ng/llng-server/llng-server.psgi' or die $@ || $!;

# One of its parts: the handler, which answers about requests, or the portal, which has the pages.
sub part {
    my $type = shift;
    return sub { my $env = shift; $lemonldap->( { %$env, LLTYPE => $type } ) };
}

builder {
    mount '/static'       => Plack::App::File->new( root => '/usr/share/lemonldap-ng/portal/htdocs/static' )->to_app;
    mount '/javascript'   => Plack::App::File->new( root => '/usr/share/javascript' )->to_app;
    mount '/forward-auth' => part('handler');
    mount '/'             => part('portal');
};
