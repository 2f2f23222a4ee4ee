## La page d’accueil : celle du lien, et celle où l’on en demande un nouveau.
ready-title = Votre famille vous a écrit
ready-text = Touchez le bouton pour lire et répondre. Pas de mot de passe, rien à installer.
open = Ouvrir les messages
opening = Ouverture…
dead-title = Ce lien ne fonctionne plus
dead-text = Il a été utilisé sur un autre téléphone, ou il est trop ancien. Vous pouvez en recevoir un nouveau.
renew = Recevoir un nouveau lien
renewing = Un instant…
renewed = C’est parti. Il arrivera au numéro que nous avons pour vous : guettez un nouveau SMS.
ask-title = Lisez les messages de votre famille
ask-text = Indiquez votre numéro de portable. Nous vous enverrons par SMS un lien qui ouvre les messages.
locked-title = Veuillez rouvrir les messages
locked-text = La session est fermée sur ce téléphone, ou vous ne faites plus partie de cette conversation. Nous pouvons vous envoyer un nouveau lien par SMS.
phone = Votre numéro de portable
phone-hint = Commencez par + et l’indicatif de votre pays, par exemple +33 6 12 34 56 78.
phone-wrong = Ce numéro est incomplet. Commencez par + et l’indicatif de votre pays.
ask = Recevoir un lien
asked = Si nous connaissons ce numéro, un SMS est en route.
ask-again = Utiliser un autre numéro
offline = Pas de connexion. Vérifiez votre réseau, puis réessayez.
busy = Il y a beaucoup de monde en ce moment. Veuillez réessayer dans un instant.
again = Réessayer
no-script = Cette page a besoin de JavaScript. Activez-le dans votre navigateur, ou ouvrez le lien dans un autre navigateur.
error-title = Cela n’a pas fonctionné
error-text = Rien n’est perdu. Veuillez réessayer dans un instant.

## La conversation.
messages = Messages
family-chat = Discussion de famille
direct-message = Message direct
you = Vous
you-too = vous
separator = { ", " }
today = Aujourd’hui
yesterday = Hier
fresh = Nouveaux messages
earlier = Messages précédents
loading = Chargement…
empty = Pas encore de message. Écrivez le premier.
former-member = Ancien membre
deleted = Ce message a été supprimé.
edited = modifié
files = { $n ->
    [one] Un fichier
   *[other] { $n } fichiers
}
answer = Votre réponse
send = Envoyer
sending = Envoi…
unsent = Pas encore envoyé
unsent-why = Pas encore envoyé. L’envoi se fera au retour du réseau.
retry = Envoyer maintenant
refused = Ce message n’a pas été envoyé.
left = Caractères restants : { $n }
too-long = Trop long de { $n }
lost = Pas de connexion. Les nouveaux messages apparaîtront au retour du réseau.

## Le menu.
menu = Menu
members = Dans cette conversation
less = Recevoir moins de SMS
texts-on = Vous recevez un SMS quand quelqu’un écrit ici.
texts-until = Pas de SMS d’ici jusqu’à : { $time }.
texts-muted = Pas de SMS de cette conversation.
texts-off = Aucun SMS, d’aucune conversation.
texts-none = Nous n’avons pas votre numéro de portable : vous ne recevez pas de SMS.
mute-hours = Pas pendant 8 heures
mute = Aucun SMS de cette conversation
stop = Plus aucun SMS
stop-sure = Vous ne recevriez plus de SMS de personne. Pour lire, il faudrait venir ici de vous-même.
stop-yes = Oui, arrêter tous les SMS
resume = Recevoir à nouveau des SMS
sign-out = Se déconnecter sur ce téléphone
sign-out-sure = Pour revenir, il vous faudra un nouveau lien par SMS. Les messages pas encore envoyés seront perdus.
sign-out-yes = Oui, me déconnecter
no = Non, revenir
signed-out = La session est fermée
signed-out-text = Les messages ne sont plus lisibles sur ce téléphone. Nous pouvons vous envoyer un nouveau lien par SMS.
